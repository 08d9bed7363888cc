"""The panel of keys: its sums are those of its keys, and who is in it depends on the hash only."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from crossfade.rollout import panel as module
from crossfade.rollout.panel import KeySums, Panel, Side
from crossfade.stats.counts import ERROR, KEY_BITS, Cell, Events, Keys

KEYS = st.integers(0, 7).map(lambda i: i << (KEY_BITS - 3) | 5)  # of each beginning


def cell(requests: list[int], failed: list[int], halvings: int = 0) -> Cell:
    made = Cell("r", "v3", "challenger", 1, requests=len(requests), errors=len(failed))
    made.keys = Keys(requests, halvings)
    made.events[ERROR] = Events(keyed=len(failed), keys=failed)
    return made


def sums_of(side: dict[int, module.KeyCounts]) -> Side:
    out = Side()
    for counted in side.values():
        out.add(counted)
    return out


@given(
    st.lists(
        st.tuples(st.booleans(), st.lists(KEYS, max_size=20), st.lists(KEYS, max_size=5), st.integers(0, 2))
    )
)
def test_the_sums_are_those_of_the_keys_in_any_order(cells):
    panel, sums = Panel(), KeySums()
    for here, requests, failed, halvings in cells:
        members = [key for key in requests if not key >> (KEY_BITS - halvings)] if halvings else requests
        panel.add(cell(members, failed, halvings), here, (ERROR,), sums)
    for side, total in ((panel.challenger, sums.challenger), (panel.champion, sums.champion)):
        expected = sums_of(side)
        assert (total.sizes.n, total.sizes.nn) == (expected.sizes.n, expected.sizes.nn)
        assert total.sizes.keys == sum(counted.n > 0 for counted in side.values())
        assert total.events.get(ERROR) == expected.events.get(ERROR) or not expected.events
    assert all(not key >> (KEY_BITS - panel.halvings) for key in panel.challenger if panel.halvings)


def test_a_full_panel_keeps_every_second_key_with_all_that_it_had(monkeypatch):
    monkeypatch.setattr(module, "LIMIT", 4)
    panel, sums = Panel(), KeySums()
    keys = [i << (KEY_BITS - 3) for i in range(8)]
    panel.add(cell(keys[:4] * 3, keys[:1]), True, (ERROR,), sums)
    assert (panel.halvings, sums.challenger.sizes.keys, sums.challenger.sizes.n) == (0, 4, 12)
    panel.add(cell(keys[4:], keys[4:5]), False, (ERROR,), sums)
    assert (panel.halvings, sums.challenger.sizes.n, sums.champion.sizes.n) == (1, 12, 0)
    assert sums.challenger.events[ERROR].xn == 3
    panel.add(cell(keys, []), True, (ERROR,), sums)
    assert sums.challenger.sizes.n == 16


def test_requests_and_events_of_one_key_are_summed_as_one_unit():
    panel, sums = Panel(), KeySums()
    for _ in range(3):
        panel.add(cell([9, 9], [9]), True, (ERROR,), sums)
    found = sums.split(0.5, ERROR)
    assert (found.here.keys, found.here.n, found.here.nn) == (1, 6, 36)
    assert (found.events.x, found.events.xx, found.events.xn) == (3, 9, 18)
