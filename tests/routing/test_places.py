"""Places in flight, shared by workers that look at the table at any time: the limit is the limit, and no place is idle
while a request waits."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from crossfade.routing.places import EXACT, FAR, LEAST_SHARE, TABLE_BYTES, PlaceTable, share_of
from tests.tries import tries

MEMORY = bytearray(TABLE_BYTES)


def table() -> PlaceTable:
    """Only the parts that tests write are made empty again."""
    made = PlaceTable(memoryview(MEMORY))
    for row, _, _ in made.processes():
        for slot in made.slots_of(row):
            made.clear(slot, row)
        made.remove(row)
    return made


class Worker:
    """As `dataplane.capacity` uses the table."""

    def __init__(self, shared: PlaceTable, pid: int) -> None:
        self.table = shared
        self.row = shared.join(pid, 0, pid)
        self.pid = pid
        self.slot = shared.enter(7, self.row)
        self.used = self.held = 0
        self.exact = True
        self.queue: list[int] = []  # since when

    def arrive(self, now: int, limit: int, queues: bool) -> bool:
        if self.used < self.held or (not self.queue and self.take(limit)):
            self.used += 1
            return True
        if queues or self.table.has_far(self.slot):
            self.queue.append(now)
            self.settle(limit)
        return False

    def take(self, limit: int) -> bool:
        if not self.exact:
            self.end_far()
            self.table.recall(self.slot)
        found = self.table.take(self.slot, self.row, limit)
        if not found:
            self.table.recall(self.slot)
        self.held = self.table.held(self.slot, self.row)
        return found

    def end_far(self) -> None:
        self.table.end_far(self.slot, self.row, self.used)
        self.exact, self.held = True, self.used

    def settle(self, limit: int) -> None:
        while self.exact:
            since = self.queue[0] if self.queue else 0
            self.held = self.table.settle(
                self.slot, self.row, self.held, self.used, len(self.queue), since, limit
            )
            if not self.queue or self.used >= self.held:
                return
            while self.queue and self.used < self.held:
                del self.queue[0]
                self.used += 1

    def finish(self, limit: int) -> None:
        self.used -= 1
        if self.exact:
            self.settle(limit)

    def look(self, limit: int, workers: int) -> None:
        if not self.exact:
            if self.table.mode(self.slot, self.row) != FAR:
                self.end_far()
        elif self.queue or self.table.held(self.slot, self.row) != self.used:
            self.settle(limit)
        else:
            share = share_of(limit, workers)
            if share and self.table.go_far(self.slot, self.row, self.used, share, limit):
                self.exact, self.held = False, share


class Workers(RuleBasedStateMachine):
    """They look at the table in any order, and late."""

    def __init__(self) -> None:
        super().__init__()
        self.table = table()
        self.workers: list[Worker] = []
        self.pid = 0
        self.now = 0
        self.limit = 1
        self.bound = 1  # the highest limit since so many were in flight

    @rule(limit=st.sampled_from([1, 2, 3, 8, 40, 64, 100, 1000]))
    def reload(self, limit: int) -> None:
        for worker in self.workers:
            if limit != self.limit and not worker.exact:
                worker.end_far()
        self.limit = limit
        for worker in self.workers:
            worker.settle(limit)

    @precondition(lambda self: len(self.workers) < 5)
    @rule()
    def start(self) -> None:
        self.pid += 1
        self.workers.append(Worker(self.table, self.pid))

    @precondition(lambda self: self.workers)
    @rule(which=st.integers(0, 4), n=st.integers(1, 60), queues=st.booleans())
    def arrive(self, which: int, n: int, queues: bool) -> None:
        worker = self.workers[which % len(self.workers)]
        for _ in range(n):
            self.now += 1
            free = self.limit - sum(w.used for w in self.workers)
            waiting = sum(len(w.queue) for w in self.workers)
            started = worker.arrive(self.now, self.limit, queues)
            assert not started or free > 0
            if not started and free > 0 and not waiting:
                assert any(not w.exact for w in self.workers if w is not worker) or worker.queue

    @precondition(lambda self: self.workers)
    @rule(which=st.integers(0, 4), n=st.integers(1, 60))
    def finish(self, which: int, n: int) -> None:
        worker = self.workers[which % len(self.workers)]
        for _ in range(min(n, worker.used)):
            worker.finish(self.limit)

    @precondition(lambda self: self.workers)
    @rule(which=st.integers(0, 4), at=st.integers(0, 10))
    def leave_the_queue(self, which: int, at: int) -> None:
        worker = self.workers[which % len(self.workers)]
        if worker.queue:
            del worker.queue[at % len(worker.queue)]
            worker.settle(self.limit)

    @precondition(lambda self: self.workers)
    @rule(which=st.integers(0, 4))
    def look(self, which: int) -> None:
        self.workers[which % len(self.workers)].look(self.limit, len(self.workers))

    @precondition(lambda self: self.workers)
    @rule(which=st.integers(0, 4))
    def die(self, which: int) -> None:
        worker = self.workers.pop(which % len(self.workers))
        assert self.table.slots_of(worker.row) == [worker.slot]
        self.table.clear(worker.slot, worker.row)
        self.table.remove(worker.row)

    @rule()
    def all_look(self) -> None:
        """As they do at a sweep: then no place is free while a request waits."""
        for _ in range(3):
            for worker in self.workers:
                worker.look(self.limit, len(self.workers))
        if any(w.queue for w in self.workers):
            assert sum(w.used for w in self.workers) >= self.limit

    @invariant()
    def no_more_in_flight_than_the_limit(self) -> None:
        used = sum(w.used for w in self.workers)
        self.bound = max(self.limit, min(self.bound, used))
        assert used <= self.bound
        for worker in self.workers:
            assert worker.used <= worker.held <= self.table.held(worker.slot, worker.row)

    @invariant()
    def who_waits_is_known(self) -> None:
        if self.workers:
            handed = sum(self.table.held(w.slot, w.row) - w.used for w in self.workers if w.exact)
            waiting = sum(len(w.queue) for w in self.workers)
            assert self.table.waiting(self.workers[0].slot) == waiting - handed


Workers.TestCase.settings = settings(max_examples=tries(150), stateful_step_count=60, deadline=None)
TestWorkers = Workers.TestCase


def test_a_free_place_goes_to_who_has_waited_longest() -> None:
    shared = table()
    workers = [Worker(shared, pid) for pid in (1, 2, 3)]
    assert workers[0].arrive(0, 1, True)
    for now, which in enumerate((2, 1, 2, 0), start=1):
        workers[which].arrive(now, 1, True)
    order = []
    busy = workers[0]
    for _ in range(4):
        busy.finish(1)
        for worker in workers:
            worker.settle(1)
        (busy,) = (worker for worker in workers if worker.used)
        order.append(workers.index(busy))
    assert order == [2, 1, 2, 0]


def test_those_that_wait_are_woken_and_no_others() -> None:
    shared = table()
    workers = [Worker(shared, pid) for pid in (1, 2, 3)]
    workers[0].arrive(0, 1, True)
    workers[1].arrive(1, 1, True)
    assert shared.woken == []
    workers[0].finish(1)
    assert shared.woken == [workers[1].row]


@pytest.mark.parametrize("workers", [1, 2, 4, 64])
@pytest.mark.parametrize("limit", [1, 2, 8, 64, 85, 86, 1024, 100_000])
def test_shares_in_advance_leave_a_quarter_of_the_limit(limit: int, workers: int) -> None:
    share = share_of(limit, workers)
    assert share == 0 or share >= LEAST_SHARE
    assert share * workers * 4 <= limit * 3


def test_a_worker_far_from_the_limit_holds_its_share_until_another_needs_it() -> None:
    shared = table()
    first, second = (Worker(shared, pid) for pid in (1, 2))
    for worker in (first, second):
        worker.look(100, 2)
        assert (worker.exact, worker.held) == (False, 37)
    for now in range(100 - 37):
        assert first.arrive(now, 100, False)
    assert not first.arrive(99, 100, False), "the second holds 37 in advance"
    assert (first.queue, shared.woken) == ([99], [second.row]), "which are recalled"
    second.look(100, 2)
    first.look(100, 2)
    assert (first.used, first.queue, second.exact) == (64, [], True)


def test_a_slot_is_free_again_once_no_worker_has_its_backend() -> None:
    shared = table()
    row = shared.join(1, 0, 0)
    slots = [shared.enter(digest, row) for digest in (3, 4)]
    assert [shared.enter(digest, row) for digest in (3, 4)] == slots
    assert shared.modes(slots[0]) == [EXACT]
    shared.clear(slots[0], row)
    assert shared.slots_of(row) == [slots[1]]
