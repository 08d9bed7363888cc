"""A preview says what the command behind it does, and changes nothing."""

from __future__ import annotations

from itertools import product

import msgspec
import pytest

from crossfade.control.change_preview import ChangePreview, Previews
from crossfade.control.refusal import Invalid, Refused, UnknownName
from crossfade.control.views import Verb
from crossfade.rollout.machine import Phase

from .harness import BOTH, CANARY, HEAD, Harness
from .test_commands import DOWN, harness_in

FREE = CANARY[: CANARY.index("    rollout:")].replace("v2: 100%", "v2: 70%, v3: 30%")


def preview(
    harness: Harness, verb: Verb, challenger: str | None = None, force: bool = False
) -> ChangePreview:
    controller = harness.controller
    return Previews(controller.state, controller.journal, harness.seam).command(
        "churn", verb, challenger, force
    )


def preview_of_split(harness: Harness, **weights: float) -> ChangePreview:
    controller = harness.controller
    return Previews(controller.state, controller.journal, harness.seam).split("churn", weights, False)


@pytest.mark.parametrize(("phase", "verb"), list(product(Phase, Verb)))
async def test_the_command_does_what_the_preview_says(phase: Phase, verb: Verb) -> None:
    harness = await harness_in(phase)
    before, made = harness.route.ledger, len(await harness.actions())
    seen = preview(harness, verb)
    assert (harness.route.ledger, len(await harness.actions())) == (before, made)
    try:
        view = await harness.controller.command("churn", verb, "api:kim", harness.now)
    except Refused as error:
        assert (seen.allowed, seen.refusal, seen.from_) == (False, str(error), seen.to)
        assert str(error) in seen.sentence
        return
    after = harness.route.ledger
    assert (seen.allowed, seen.refusal, seen.phase, seen.step) == (True, "", view.phase, view.step)
    assert {name: round(share * 10_000) for name, share in seen.to.items()} == harness.weights
    moved = sum(
        before.backends[a] != after.backends[b] for a, b in zip(before.slots, after.slots, strict=True)
    )
    assert seen.moved.buckets == sum(seen.moved.of.values()) == moved
    assert seen.moved.share == moved / 10_000


async def test_what_people_read_before_a_promote() -> None:
    harness = await harness_in(Phase.PROGRESSING)
    seen = preview(harness, Verb.PROMOTE)
    assert seen.sentence == (
        "v3 becomes the champion, without the step that is left. It is watched for 1m: a FAIL rolls it back. "
        "Moves 95% of the customers (9500 of 10000 buckets) from v2 to v3. 1 request in flight at v2 ends there."
    )
    assert seen.in_flight == {"v2": 1}
    assert seen.moved.of == {"v2→v3": 9500}
    assert set(msgspec.to_builtins(seen)) >= {"from", "to", "moved", "in_flight"}


@pytest.mark.parametrize(
    ("phase", "verb", "sentence"),
    [
        (Phase.PROGRESSING, Verb.PAUSE, "The rollout pauses: v3 keeps 5%, and takes no further step until a resume. Nobody moves."),
        (Phase.PAUSED, Verb.RESUME, "The rollout goes on with step 1 of 2 (5% of the traffic). Nobody moves."),
        (Phase.PROGRESSING, Verb.ABORT, "The rollout of v3 ends, and v2 has the traffic. It begins again by a retry only. Moves 5% of the customers (500 of 10000 buckets) from v3 to v2."),
        (Phase.PROMOTED, Verb.ROLLBACK, "v2 is the champion again. v3 is tried again by a retry only. Moves 100% of the customers (10000 of 10000 buckets) from v3 to v2."),
        (Phase.ABORTED, Verb.RETRY, "A new attempt of v3 begins with step 1 of 2 (5% of the traffic) as soon as it is up. Nobody moves before."),
        (Phase.PROGRESSING, Verb.RESTART, "The present attempt ends, and a new attempt of v3 begins with step 1 of 2 (5% of the traffic) as soon as it is up. Moves 5% of the customers (500 of 10000 buckets) from v3 to v2."),
        (Phase.ABORTED, Verb.ABORT, "Nothing changes on churn."),
    ],
)  # fmt: skip
async def test_sentences(phase: Phase, verb: Verb, sentence: str) -> None:
    assert preview(await harness_in(phase), verb).sentence == sentence


async def test_what_is_cut_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = Harness()
    await harness.load(CANARY.replace("      watch: 60s", "      watch: 60s\n      cut_after: 5s"))
    await harness.run(2)
    await harness.controller.command("churn", Verb.PROMOTE, "kim", harness.now)
    busy = [msgspec.structs.replace(worker, in_flight={"v3": 3}) for worker in harness.seam.workers()]
    monkeypatch.setattr(harness.seam, "workers", lambda: busy)
    sentence = preview(harness, Verb.ROLLBACK).sentence
    assert sentence.endswith("3 requests in flight at v3 may end there; what still runs after 5s is cut.")


async def test_nobody_is_sent_to_a_backend_that_is_down_without_force() -> None:
    harness = Harness()
    await harness.load(head=HEAD.replace("http://127.0.0.1:9003], health: false", "http://127.0.0.1:9003]"))
    await harness.tick()
    harness.controller.endpoints_changed(DOWN, harness.now)
    seen = preview(harness, Verb.PROMOTE)
    assert not seen.allowed
    assert "no endpoint of v3 is up" in seen.refusal
    assert seen.to == {"v3": 1.0}, "what it would do with force is shown all the same"
    assert preview(harness, Verb.PROMOTE, force=True).allowed


async def test_a_rise_is_refused_while_the_state_cannot_be_written() -> None:
    harness = await harness_in(Phase.PROGRESSING)
    harness.controller.journal.ok, harness.controller.journal.error = False, "disk full"
    assert preview(harness, Verb.PROMOTE).refusal == (
        "exposure does not rise while the state cannot be written: disk full"
    )
    assert preview(harness, Verb.ABORT).allowed


async def test_a_split() -> None:
    harness = Harness()
    await harness.load(FREE)
    await harness.tick()
    seen = preview_of_split(harness, v2=20, v3=50, v4=30)
    assert (seen.action, seen.phase, seen.step) == ("split", None, None)
    assert seen.sentence.startswith("The split of churn becomes v2 20%, v3 50%, v4 30%. Moves ")
    assert seen.moved.of == {"v2→v3": 2000, "v2→v4": 3000}
    assert preview_of_split(harness, v2=0.7, v3=0.3).sentence == "Nothing changes on churn."
    with pytest.raises(Invalid):
        preview_of_split(harness, v2=1.0)
    await harness.controller.set_split("churn", {"v2": 20, "v3": 50, "v4": 30}, "kim", harness.now)
    assert {name: round(share * 10_000) for name, share in seen.to.items()} == harness.weights


async def test_a_split_under_a_rollout_is_refused() -> None:
    seen = preview_of_split(await harness_in(Phase.PROGRESSING), v2=1.0)
    assert seen.refusal == "a rollout is progressing on churn; abort it, or let it end"


async def test_where_a_route_has_several_the_challenger_is_named() -> None:
    harness = Harness()
    await harness.load(BOTH)
    await harness.run(2)
    with pytest.raises(Refused, match="say which challenger"):
        preview(harness, Verb.ABORT)
    assert preview(harness, Verb.ABORT, "v4").moved.of == {"v4→v2": 1000}
    with pytest.raises(UnknownName):
        preview(harness, Verb.ABORT, "v5")
