"""Operators at random: files, verbs, restarts and clocks in any order. Laws 3 and 13 hold, and the journal replays (law 12)."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from crossfade.control.chain import first_broken
from crossfade.control.refusal import ControlError
from crossfade.control.replay import journal, replayed
from crossfade.control.store import Store
from crossfade.control.views import Verb

from .harness import Harness, rows_of

# What an operator may write, and whether an edit of it may move customers. "rollout" and "file" may: a rollout that runs and
# is taken out gives its share back, and another challenger begins from the champion.
CHOICES: dict[str, tuple[list[Any], bool]] = {
    "hold": (["5s", "10s", "1h"], False),
    "first": (["5%", "10%"], False),
    "last": (["30%", "50%"], False),
    "middle": (["", "20%"], False),
    "limit": (["5%", "4%", "50%"], False),
    "checks": (["", "- {metric: requests, min: 10}"], False),
    "approval": (["false", "true"], False),
    "watch": (["0s", "30s", "{for: 30s, holdback: 2%}", "{for: 20s, holdback: 5%}"], False),
    "on_undecided": (["pause", "abort", "advance"], False),
    "max_step_time": (["60s", "1h"], False),
    "strategy": (["canary", "ab_test"], False),
    "endpoints": (["http://127.0.0.1:9003", "http://127.0.0.1:9003, http://127.0.0.1:9013"], False),
    "champion_endpoints": (["http://127.0.0.1:9002", "http://127.0.0.1:9012"], False),
    "path": (["/predict", "/predict/v1"], False),
    "sticky": (["json: customer_id", "header: x-customer"], False),
    "champion_version": (["", "version: '2', "], False),
    "listed": ([True, False], False),  # a route that is not in the file serves nobody
    "split": (["v2: 100%", "v2: 80%, v3: 20%", "v3: 100%, v2: 0%"], True),
    "rollout": ([True, False], True),
    "version": (["", "version: '3', "], True),
    "challenger": (["v3", "v4"], True),
    "restart": (["false", "true"], True),
}
FIRST = {key: values[0] for key, (values, _) in CHOICES.items()}

BACKENDS = """
listen: 127.0.0.1:0
state: "sqlite::memory:"
backends:
  v2: {{{champion_version}endpoints: [{champion_endpoints}], health: false}}
  v3: {{{version}endpoints: [{endpoints}], health: false}}
  v4: {{endpoints: [http://127.0.0.1:9004], health: false}}
"""
ROUTE = """
  - name: churn
    match: {{path: {path}}}
    sticky: {{{sticky}}}
    split: {{{split}}}
"""
ROLLOUT = """
    rollout:
      strategy: {strategy}
      champion: v2
      challenger: {challenger}
      restart: {restart}
      steps:
        - {{weight: {first}, hold: {hold}, approval: {approval}}}
        {middle_step}
        - {{weight: {last}, hold: 10s}}
      min_requests: 50
      max_step_time: {max_step_time}
      on_undecided: {on_undecided}
      watch: {watch}
      checks:
        - {{metric: error_rate, max: {limit}}}
        - {{metric: error_rate, max_increase: 2%}}
        {checks}
"""
OTHER = """
  - name: other
    match: {prefix: /}
    split: {v2: 60%, v4: 40%}
"""


def written(file: dict[str, Any]) -> tuple[str, str]:
    """(routes, the rest) of the file."""
    middle = f"- {{weight: {file['middle']}, hold: 10s}}" if file["middle"] else ""
    route = ROUTE + (ROLLOUT if file["rollout"] else "")
    routes = (route.format(**file, middle_step=middle) if file["listed"] else "") + OTHER
    return "routes:" + routes, BACKENDS.format(**file)


class Operators(RuleBasedStateMachine):
    """`file`: what the proxy runs with. `map`: bucket → backend of the route, None while it is not in the file."""

    @initialize()
    def start(self) -> None:
        self.runner = asyncio.Runner()
        self.harness = Harness(Store.open("sqlite::memory:"))
        self.file = dict(FIRST)
        self.act(self.harness.load(*written(self.file)))
        self.watch()

    def watch(self) -> None:
        """Law 3: a snapshot never gives a challenger more than the journal on disk does."""
        self.exceeded: list[tuple[str, int, int]] = []
        harness = self.harness
        highest: dict[str, int] = {}

        def look(snapshot: Any) -> None:
            record = {route.name: route for route in snapshot.routes}.get("churn")
            held = harness.store.records().get("churn")
            for name in ("v3", "v4"):
                published = record.ledger.weights.get(name, 0) if record else 0
                on_disk = held[0].ledger.weights.get(name, 0) if held else 0
                if published > max(on_disk, highest.get(name, 0)):
                    self.exceeded.append((name, published, on_disk))
                highest[name] = published

        harness.seam.on_publish = look

    def act(self, work: Coroutine[Any, Any, object]) -> None:
        async def ended() -> None:
            try:
                await work
            finally:
                await self.harness.controller.idle()

        self.runner.run(ended())

    @property
    def map(self) -> list[str] | None:
        routes = {route.name: route for route in self.harness.seam.published[-1].routes}
        if "churn" not in routes:
            return None
        ledger = routes["churn"].ledger
        return [ledger.backends[slot] for slot in ledger.slots]

    def count(self) -> int:
        return self.harness.controller.journal.number

    @rule(key=st.sampled_from(sorted(CHOICES)), data=st.data())
    def edit(self, key: str, data: st.DataObject) -> None:
        value = data.draw(st.sampled_from(CHOICES[key][0]))
        edited = self.file | {key: value}
        before, decided, published = self.map, self.count(), len(self.harness.seam.published)
        try:
            self.act(self.harness.load(*written(edited)))
        except ControlError:
            assert (self.count(), len(self.harness.seam.published)) == (decided, published)
            return
        may_move = CHOICES[key][1] or edited["restart"] == "true" != self.file["restart"]
        if before is not None and self.map is not None and not may_move:
            assert self.map == before, f"{key}: {self.file[key]} → {value} moved customers"
        if edited == self.file:
            assert self.count() == decided
        self.file = edited

    @rule()
    def load_the_same_file(self) -> None:
        before, decided = self.map, self.count()
        self.act(self.harness.load(*written(self.file)))
        assert (self.map, self.count()) == (before, decided)

    @rule(verb=st.sampled_from(Verb))
    def command(self, verb: Verb) -> None:
        with suppress(ControlError):
            self.act(self.harness.controller.command("churn", verb, "api:kim", self.harness.now))
            if verb is Verb.ABORT:
                assert self.harness.rollout.weight == 0.0

    @rule(weights=st.sampled_from([{"v2": 1, "v3": 1, "v4": 0}, {"v2": 1, "v3": 0, "v4": 0}, {"v2": 1}]))
    def split(self, weights: dict[str, float]) -> None:
        with suppress(ControlError):
            self.act(self.harness.controller.set_split("churn", weights, "api:kim", self.harness.now))

    @rule(ticks=st.integers(1, 15), bad=st.sampled_from([0.0, 0.0, 0.0, 0.5]))
    def serve(self, ticks: int, bad: float) -> None:
        self.harness.error_share = {"v3": bad, "v4": bad}
        before, challenger = self.map, self.file["challenger"]
        self.act(self.harness.run(ticks))
        rollouts = {rollout.challenger: rollout.phase for rollout in self.harness.views.rollouts(0.0)}
        if before and self.map and rollouts.get(challenger) not in (None, "aborted", "rolled_back"):
            evicted = [b for b, now in zip(before, self.map, strict=True) if b == challenger != now]
            assert not evicted, "the loop takes no customer from a challenger (law 2)"

    @rule(wall=st.sampled_from([-3600.0, 7200.0, 0.0]), away=st.sampled_from([0.0, 30.0, 86_400.0]))
    def clocks(self, wall: float, away: float) -> None:
        """The wall clock is set, or the machine sleeps."""
        self.harness.wall_ahead += wall
        self.harness.now += away

    @rule()
    def kill_and_restart(self) -> None:
        before, decided, old = self.map, self.count(), self.harness
        self.harness = Harness(old.store)
        self.harness.now, self.harness.wall_ahead = old.now, old.wall_ahead
        self.act(self.harness.load(*written(self.file)))
        assert (self.map, self.count()) == (before, decided)
        self.watch()

    @invariant()
    def laws_hold(self) -> None:
        if not hasattr(self, "harness"):
            return
        assert self.exceeded == []
        assert first_broken(journal(self.harness.store)) is None
        for route in self.harness.views.routes():
            assert sum(route.split.values()) == 1.0

    def teardown(self) -> None:
        if hasattr(self, "harness"):
            report = replayed(rows_of(self.runner.run(self.harness.decisions())))
            assert report.differences == []
            self.runner.run(self.harness.controller.close())
            self.runner.close()
            self.harness.store.close()


def test_operators_at_random() -> None:
    run_state_machine_as_test(
        Operators,
        settings=settings(
            max_examples=12,
            stateful_step_count=25,
            deadline=None,
            derandomize=True,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
