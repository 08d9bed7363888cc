"""What a tick saves for the next start: the evidence and the clock; and what it says when the state cannot be written."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from crossfade.control.change import LOOP, Cause
from crossfade.control.controller_state import ControllerState
from crossfade.control.journal import Journal
from crossfade.control.recovery import restored
from crossfade.control.route_record import EvidenceBy
from crossfade.control.subscription import Feed
from crossfade.control.views import Decision, StatusChange

log = logging.getLogger("crossfade.control")

EVIDENCE_INTERVAL = 1.0  # seconds between two savings of the evidence, or two looks at the files
CLOCK_INTERVAL = 60.0  # seconds between two savings of the clock while no rollout has evidence to save


class Saving:
    """`cause`: of a decision by an actor, with a reason. `tell`: decisions that have been written."""

    def __init__(
        self,
        state: ControllerState,
        journal: Journal,
        feed: Feed,
        cause: Callable[[str, str], Cause],
        tell: Callable[[Sequence[Decision]], None],
    ) -> None:
        self.state = state
        self.journal = journal
        self.feed = feed
        self.cause = cause
        self.tell = tell
        self.saved_at = self.looked_at = 0.0  # served time
        self.was_ok = True
        self.was_lost = False

    def evidence(self) -> dict[str, EvidenceBy]:
        """Of the routes that are guarded, and whose next state is not being written."""
        return {route.name: route.evidence for route in self.state.unlocked() if route.is_guarded}

    def save_from_time_to_time(self) -> None:
        """The evidence with the clock; the clock alone less often. A look at the files in between."""
        served = self.state.served
        if served - self.looked_at < EVIDENCE_INTERVAL:
            return
        self.looked_at = served
        guarded = self.evidence()
        if guarded or not self.journal.ok or served - self.saved_at >= CLOCK_INTERVAL:
            self.saved_at = served
            self.journal.save_evidence(guarded, self.state.clock)
        else:
            self.journal.look()

    def report(self, now: float) -> None:
        """When the state can no longer be written, and when it can again."""
        if self.journal.ok != self.was_ok:
            self.was_ok = self.journal.ok
            detail = "writable again" if self.journal.ok else self.journal.error
            log.warning("state file: %s", detail)
            self.feed.publish(StatusChange(now, "store", None, detail, ok=self.journal.ok))
        if self.journal.is_lost and not self.was_lost:
            self.was_lost = True
            cause = self.cause(LOOP, self.journal.error)
            self.journal.write(restored(list(self.state.held.values()), cause), self.tell)
