"""Replay: whole rollouts agree with the journal, and each changed record is named."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from crossfade.control.chain import GENESIS, seal
from crossfade.control.replay import Report, journal, replayed
from crossfade.control.store import Store
from crossfade.control.views import Decision, Model, Verb
from crossfade.rollout import machine, verdict_rule
from crossfade.rollout.inputs import decode_inputs
from crossfade.stats.pairs import Pairs

from .harness import BOTH, CANARY, HEAD, NOW, Harness, rollout_entry, rows_of, with_rollouts
from .test_strategies import SHADOW

FUSED = CANARY.replace(
    "      checks:",
    "      fuse: {consecutive_errors: 5, error_share: 50%, of_last: 12}\n      checks:\n"
    "        - {metric: latency, quantile: p90, max_ratio: 1.5}",
)


async def decided(harness: Harness) -> list[Decision]:
    """As they are read back from the store."""
    await harness.controller.idle()
    found = await harness.decisions()
    assert rows_of(found) == list(journal(harness.store))
    return found


def resealed(decisions: list[Decision]) -> list[Decision]:
    """With all hashes computed anew, as a forger would."""
    out: list[Decision] = []
    for d in decisions:
        out.append(seal(d, d.id, out[-1].hash if out else GENESIS))
    return out


async def promoted() -> Harness:
    harness = Harness()
    await harness.load(FUSED)
    await harness.run(100)
    assert await harness.actions() == ["start", "begin", "advance", "promote", "watch_ended"]
    return harness


async def aborted() -> Harness:
    """By a check, after a common cause and with errors a little above the limit."""
    harness = Harness()
    await harness.load(FUSED)
    await harness.run(3)
    harness.latency = {"v3": 0.9}
    await harness.run(30)
    assert await harness.actions() == ["start", "begin", "abort"]
    return harness


async def unlike() -> Harness:
    """Aborted by pairs of decisions, in a step of copies: no bucket ever moved."""
    harness = Harness()
    await harness.load(
        SHADOW.replace("    split:", "    prediction: {label: class}\n    split:").replace(
            "checks: [", "checks: [{metric: disagreement, max: 5%}, "
        )
    )
    await harness.tick()
    harness.add_counts("v3", 400, 0, "shadow")
    harness.seam.counts.cells[-1].pairs = Pairs(n=400, changed=200, chances=400, twice=400, noise=8, both=4)
    await harness.tick(200)
    assert await harness.actions() == ["start", "begin", "abort"]
    assert (await harness.decisions())[-1].reason.startswith("disagreement <= 5%: 50% of 400")
    return harness


async def commanded() -> Harness:
    """Everything an operator may say, a file edited between, and the fuse."""
    harness = Harness()
    await harness.load(FUSED)
    await harness.run(2)
    for verb in (Verb.PAUSE, Verb.RESUME, Verb.ABORT, Verb.RETRY, Verb.PROMOTE, Verb.ROLLBACK, Verb.RETRY):
        await harness.controller.command("churn", verb, "api:kim", harness.now, f"to see {verb}")
        harness.error_share = {"v2": 0.3, "v3": 0.3} if verb is Verb.RESUME else {}
        await harness.run(2)
    await harness.load(FUSED.replace("challenger: v3", "challenger: v4"))
    await harness.run(2)
    harness.error_share = {"v4": 1.0}
    await harness.run(2)
    assert harness.rollout.phase == "aborted"
    await harness.load(CANARY[: CANARY.index("    rollout:")])
    await harness.controller.set_split("churn", {"v2": 1, "v3": 1}, "api:kim", harness.now)
    return harness


@pytest.mark.parametrize(
    ("make", "replays", "given"), [(promoted, 4, 1), (aborted, 2, 1), (unlike, 2, 1), (commanded, 12, 5)]
)
async def test_whole_rollouts_are_replayed_without_a_difference(make, replays, given):
    report = replayed(rows_of(await decided(await make())))
    assert report.differences == []
    assert (report.replayed, report.given) == (replays, given)
    assert str(report) == f"{replays + given} decisions, {replays} replayed, {given} given: no difference"


async def after_a_common_outage() -> Harness:
    """An operator aborts while the fuse is VOID, when the outcomes of the outage have been dropped already."""
    harness = Harness()
    await harness.load(FUSED.replace("weight: 5%", "weight: 40%"))
    await harness.tick()
    await harness.tick(40)
    harness.error_share = {"v2": 0.9, "v3": 1.0}
    await harness.tick(20)
    assert ("fuse", "VOID") in [(v.check, v.verdict) for v in harness.rollout.verdicts]
    await harness.controller.command("churn", Verb.ABORT, "api:kim", harness.now)
    return harness


async def test_a_decision_in_a_common_outage_is_replayed():
    harness = await after_a_common_outage()
    found = await decided(harness)
    assert [d.action for d in found] == ["start", "begin", "abort"]
    assert "fuse" in [verdict["check"] for verdict in found[-1].evidence["verdicts"]]
    assert replayed(rows_of(found)).differences == []


async def test_a_decision_names_the_models_that_it_is_about():
    harness = Harness()
    endpoints = [f"http://127.0.0.1:{port}" for port in range(9100, 9120)]
    head = HEAD.replace("[http://127.0.0.1:9003]", str(endpoints)).replace(
        "health: false}\n  v4", "health: false, version: 3}\n  v4"
    )
    await harness.load(CANARY, head.replace("version: 3", "version: '3'"))
    await harness.run(2)
    for decision in await decided(harness):
        assert list(decision.backends) == ["v2", "v3"]
        assert decision.backends["v2"] == Model(["127.0.0.1:9002"])
        seen = decision.backends["v3"]
        assert (seen.version, len(seen.endpoints), seen.more) == ("3", 16, 4)
    plain = CANARY[: CANARY.index("    rollout:")]
    await harness.load(plain.replace("split: {v2: 100%}", "split: {v4: 100%}"))
    assert "v4" in (await decided(harness))[-1].backends


async def test_a_decision_keeps_the_input_of_its_evaluation():
    harness = await aborted()
    last = (await decided(harness))[-1]
    given = decode_inputs(last.evidence["given"])
    assert (given.plan, given.sticky, given.ready) == (
        harness.controller.state.routes["churn"].rollouts["v3"].plan,
        True,
        True,
    )
    stratum = given.evidence.strata[0]
    assert stratum.marks and stratum.challenger.duration.count == stratum.challenger.requests > 0
    since = given.challenger.ticks[0].at
    assert sum(len(tick.outcomes) for tick in given.champion.ticks if tick.at < since) == 0
    assert len(msgspec.json.encode(last)) < 20_000


def changed(decisions: list[Decision], index: int, **fields: Any) -> list[Decision]:
    return [replace(d, **fields) if i == index else d for i, d in enumerate(decisions)]


def named(report: Report) -> list[tuple[int, str]]:
    return [(d.id, d.what) for d in report.differences]


async def test_a_record_changed_without_its_hash_is_a_difference():
    found = await decided(await promoted())
    assert named(replayed(rows_of(changed(found, 3, actor="api:kim")))) == [(4, "hash")]
    assert named(replayed(rows_of(found[:2] + found[3:]))) == [(4, "previous_hash"), (4, "from")]


def with_evidence(decision: Decision, **given: Any) -> dict[str, Any]:
    return decision.evidence | given


async def test_a_record_changed_with_all_later_hashes_is_a_difference():
    found = await decided(await promoted())
    step = found[2]
    verdicts = [v | {"verdict": "PASS", "reason": "it is well"} for v in step.evidence["verdicts"]]
    forged: list[tuple[dict[str, Any], list[tuple[int, str]]]] = [
        ({"reason": "because"}, [(3, "reason")]),
        ({"action": "promote"}, [(3, "action")]),
        ({"evidence": with_evidence(step, verdicts=verdicts)}, [(3, "verdicts")]),
        (
            {"evidence": with_evidence(step, event="abort")},
            [(3, "action"), (3, "to"), (3, "event")],
        ),
        (
            {"from_": step.from_ | {"split": {"v2": 0.85, "v3": 0.05, "v4": 0.1}}},
            [(3, "from"), (3, "to")],
        ),
        ({"evidence": with_evidence(step, given={})}, [(3, "inputs")]),
        ({"evidence": with_evidence(step, event="explode")}, [(3, "inputs")]),
        ({"evidence": {"given": step.evidence["given"]}}, [(3, "inputs")]),
        ({"to": step.to | {"ledger_version": 9}}, [(3, "to"), (4, "from")]),
        ({"from_": step.from_ | {"step": 9}}, [(3, "from"), (3, "state")]),
        ({"from_": {}}, [(3, "from"), (3, "state"), (3, "to")]),
        ({"served": NOW}, [(3, "event"), (3, "reason")]),  # the hold was not over then
    ]
    for fields, differences in forged:
        assert named(replayed(rows_of(resealed(changed(found, 2, **fields))))) == differences, fields


async def test_a_changed_home_differs_in_the_split_after_an_abort():
    found = await decided(await aborted())
    forged = with_evidence(found[2], home={"v2": 9000, "v4": 1000})
    assert named(replayed(rows_of(resealed(changed(found, 2, evidence=forged))))) == [(3, "to")]


async def test_code_that_decides_otherwise_gives_differences(monkeypatch):
    found = await decided(await aborted())
    monkeypatch.setattr(verdict_rule, "bound", lambda alpha: 1e9)
    differences = replayed(rows_of(found)).differences
    assert [(d.id, d.what) for d in differences][:1] == [(2, "verdicts")]
    assert (3, "event") in named(replayed(rows_of(found)))
    assert str(differences[-1]).startswith('decision 3 (churn, abort): reason: the journal says "p90 latency')


async def test_a_machine_with_another_table_gives_a_difference(monkeypatch):
    found = await decided(await promoted())
    settled = (machine.Phase.PROMOTED, machine.Event.WATCH_ENDED)
    begin = machine.TABLE[machine.Phase.PROGRESSING, machine.Event.BEGIN].apply
    monkeypatch.setitem(machine.TABLE, settled, machine.Transition(begin, ()))
    assert named(replayed(rows_of(found))) == [(5, "inputs")]


async def test_a_route_goes_on_after_its_removal():
    harness = Harness()
    other = BOTH.replace("churn", "other").replace("/predict", "/other").removeprefix("\nroutes:\n")
    for yaml in (CANARY + other, CANARY, CANARY + other, "routes:\n" + other, CANARY + other):
        await harness.load(yaml)
        await harness.run(12)
    found = await decided(harness)
    churn = [d.action for d in found if d.route == "churn"]
    assert churn == ["start", "begin", "advance", "promote", "remove", "return", "return"]
    assert [d.route for d in found if d.action == "remove"] == ["other", "churn"]
    assert replayed(rows_of(found)).differences == []


async def test_a_rollout_taken_out_of_the_file_begins_anew_and_the_one_beside_it_goes_on():
    harness = Harness()
    await harness.load(BOTH)
    await harness.run(3)
    for kept in (with_rollouts(rollout_entry("v3", "5%", "30%")), BOTH):
        await harness.load(kept)
        await harness.run(8)
    assert await harness.actions() == ["start", "start", "begin", "begin", "end", "advance", "start", "begin"]
    assert replayed(rows_of(await decided(harness))).differences == []


async def test_a_journal_is_read_while_a_proxy_writes_it(tmp_path):
    path = f"{tmp_path}/state.db"
    with closing(Store.open(f"sqlite:{path}")) as store:
        harness = Harness(store)
        await harness.load(head=HEAD)
        await harness.run(20)
        with closing(Store.read(path)) as other:
            assert replayed(journal(other)).differences == []
            assert list(journal(other)) == rows_of(await harness.decisions())


def test_an_empty_journal_has_no_difference():
    with closing(Store.open("sqlite::memory:")) as store:
        assert replayed(journal(store)) == Report()
