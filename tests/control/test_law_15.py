"""Law 15: whatever goes up and down, fails or is commanded, nobody is sent to a backend that is down, unless by force."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from crossfade.control.receivers import growing
from crossfade.control.refusal import ControlError
from crossfade.control.replay import journal, replayed
from crossfade.control.seen import Meant
from crossfade.control.store import Store
from crossfade.control.views import Verb
from crossfade.routing.snapshot import Snapshot
from tests.tries import tries

from .harness import BOTH, CANARY, Harness, rollout_entry, with_rollouts

ENDPOINTS = {
    "v2": ("127.0.0.1:9002", "127.0.0.1:9012"),
    "v3": ("127.0.0.1:9003", "127.0.0.1:9013", "127.0.0.1:9023"),
}
ENDPOINTS |= {"v4": ("127.0.0.1:9004",)}
NAMES = tuple((backend, endpoint) for backend, endpoints in ENDPOINTS.items() for endpoint in endpoints)
HEAD = 'listen: 127.0.0.1:0\nstate: "sqlite::memory:"\nbackends:\n' + "".join(
    f"  {backend}: {{endpoints: [{', '.join('http://' + e for e in endpoints)}]}}\n"
    for backend, endpoints in ENDPOINTS.items()
)
SWITCH = with_rollouts(rollout_entry("v3", "100%", more=", watch: 60s"))
FILES = (CANARY, SWITCH, BOTH)


class Probed(NamedTuple):
    """From now on these fail their probes; all others pass them."""

    down: frozenset[tuple[str, str]]


class Served(NamedTuple):
    """So many ticks with traffic, of which these backends fail a half."""

    ticks: int
    failing: frozenset[str]


class Commanded(NamedTuple):
    verb: Verb
    challenger: str
    force: bool


class Split(NamedTuple):
    weights: dict[str, float]
    force: bool


class Drained(NamedTuple):
    """Of a backend, by an operator and by force where that is needed: these, and no others."""

    endpoints: frozenset[tuple[str, str]]


class Restarted(NamedTuple):
    """The proxy starts again: no endpoint was probed yet. What is drained stays so."""


Happening = Probed | Served | Commanded | Split | Drained | Restarted

BACKENDS = st.sampled_from(tuple(ENDPOINTS))
DOWN = st.one_of(
    st.frozensets(st.sampled_from(NAMES)),
    st.frozensets(BACKENDS, max_size=2).map(lambda names: frozenset(n for n in NAMES if n[0] in names)),
)
FAILING = st.sampled_from(({"v3", "v4"}, {"v3"}, {"v2"}, {"v2", "v3"}, set[str]())).map(frozenset)
BEGUN = (Probed(frozenset()), Served(12, frozenset()))
HAPPENINGS = st.lists(
    st.one_of(
        st.builds(Probed, DOWN),
        st.builds(Served, st.sampled_from((1, 12)), FAILING),
        st.builds(
            Commanded,
            st.sampled_from(Verb),
            st.sampled_from(("v3", "v4")),
            st.sampled_from((False, False, True)),
        ),
        st.builds(Split, st.dictionaries(BACKENDS, st.sampled_from((1.0, 3.0)), min_size=1), st.booleans()),
        st.builds(Drained, DOWN),
        st.builds(Restarted),
    ),
    max_size=12,
)


class World:
    """Looks at each snapshot with its own knowledge of who is up."""

    def __init__(self, yaml: str) -> None:
        self.yaml, self.store = yaml, Store.open("sqlite::memory:")
        self.down: frozenset[tuple[str, str]] = frozenset()
        self.seen_up: frozenset[tuple[str, str]] = frozenset()
        self.drained: frozenset[tuple[str, str]] = frozenset()
        self.forced = self.is_split = False  # of what happens now
        self.weights: dict[str, int] = {}

    async def start(self, now: float | None = None) -> None:
        self.harness = Harness(self.store)
        self.harness.now = now or self.harness.now
        self.harness.seam.on_publish = self.look
        self.down = self.seen_up = frozenset()
        await self.harness.load(self.yaml, HEAD)

    def look(self, snapshot: Snapshot) -> None:
        before, self.weights = self.weights, snapshot.routes[0].ledger.weights
        if self.forced or not before:
            return
        for backend in growing(before, self.weights):
            names = [(backend, endpoint) for endpoint in ENDPOINTS[backend]]
            up = [name for name in names if name in self.seen_up - self.down - self.drained]
            needed = 0.0 if self.is_split or backend == "v2" else 0.5  # `min_up`, for a rise of a challenger
            assert up and len(up) / len(names) >= needed, (
                backend,
                before,
                self.weights,
                self.down,
                self.drained,
            )

    async def happen(self, happening: Happening) -> None:
        harness = self.harness
        match happening:
            case Probed(down):
                self.down, self.seen_up = down, self.seen_up | (frozenset(NAMES) - down)
                harness.controller.endpoints_changed(down, harness.now, self.seen_up)
            case Served(ticks, failing):
                harness.error_share = dict.fromkeys(failing, 0.5)
                await harness.run(ticks, 200)
            case Drained(endpoints):
                for name in endpoints:
                    await harness.controller.drains.drain(*name, "api:kim", force=True)
                self.drained |= endpoints
                for name in self.drained - endpoints:
                    await harness.controller.drains.undrain(*name, "api:kim")
                self.drained = endpoints
            case Restarted():
                await harness.controller.idle()
                await self.start(harness.now)
            case Commanded(verb, challenger, force):
                self.forced = force
                await harness.controller.command(
                    "churn", verb, "api:kim", harness.now, "", Meant(challenger), force
                )
            case Split(weights, force):
                self.forced, self.is_split = force, True
                await harness.controller.set_split("churn", weights, "api:kim", harness.now, force)


async def live(yaml: str, happenings: Sequence[Happening]) -> None:
    world = World(yaml)
    await world.start()
    for happening in (*BEGUN, *happenings):
        try:
            await world.happen(happening)
        except ControlError:
            pass  # refused: then nothing has moved, as `look` has seen
        finally:
            await world.harness.controller.idle()
            world.forced = world.is_split = False
    assert replayed(journal(world.store)).differences == []


@settings(max_examples=tries(60), deadline=None)
@given(st.sampled_from(FILES), HAPPENINGS)
def test_nobody_is_sent_to_a_backend_that_is_down(yaml: str, happenings: list[Happening]) -> None:
    asyncio.run(live(yaml, happenings), debug=False)
