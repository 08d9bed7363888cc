"""The chain finds each way of tampering with the journal."""

from __future__ import annotations

import json
from hashlib import sha256

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from crossfade.control.chain import GENESIS, first_broken, has_own_hash, hash_of, seal
from crossfade.control.views import Decision

from .harness import rows_of


def draft(reason: str = "because", **evidence) -> Decision:
    split = {"v2": 0.95, "v3": 0.05}
    return Decision(0, 1.5, "r", "advance", "loop", {}, {"split": split}, reason, evidence, 3, "cfg", "", "")


def chain(n: int = 5) -> list[Decision]:
    out: list[Decision] = []
    for number in range(1, n + 1):
        out.append(seal(draft(f"reason {number}"), number, out[-1].hash if out else GENESIS))
    return out


def broken(decisions: list[Decision], previous_hash: str = GENESIS) -> int | None:
    return first_broken(rows_of(decisions), previous_hash)


def test_an_unchanged_chain_is_not_broken():
    assert broken(chain()) is None
    assert broken([]) is None
    assert broken(chain()[2:], chain()[1].hash) is None


@pytest.mark.parametrize(
    ("what", "value"),
    [
        ("reason", "another"),
        ("actor", "api:mallory"),
        ("at", 1.6),
        ("to", {"split": {"v2": 0.0, "v3": 1.0}}),
        ("evidence", {"n": 1}),
        ("ledger_version", 4),
        ("hash", "0" * 64),
        ("id", 7),
    ],
)
def test_a_changed_record_breaks_the_chain_at_that_record(what, value):
    decisions = chain()
    decisions[2] = replace(decisions[2], **{what: value})
    assert broken(decisions) == decisions[2].id


def test_a_changed_record_with_a_new_hash_breaks_the_chain_at_the_next_record():
    decisions = chain()
    forged = replace(decisions[2], reason="another")
    decisions[2] = replace(forged, hash=hash_of(msgspec.to_builtins(forged)))
    assert broken(decisions) == 4


def test_a_removed_or_moved_record_breaks_the_chain():
    decisions = chain()
    assert broken(decisions[:2] + decisions[3:]) == 4
    assert broken([decisions[1], decisions[0], *decisions[2:]]) == 2
    assert broken(decisions[1:]) == 2


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(
    st.dictionaries(st.text(max_size=8), json_values, max_size=5), st.integers(0, 2**40) | st.floats(0, 2e9)
)
def test_a_hash_is_the_same_after_writing_and_reading(evidence, at):
    sealed = seal(replace(draft(), evidence=evidence, at=at), 1, GENESIS)
    read = msgspec.json.decode(msgspec.json.encode(sealed), type=Decision)
    assert broken([read]) is None


def test_a_hash_of_the_formats_before_5_holds_for_their_records_only():
    """They hashed Python's JSON, in ASCII; it differs for other letters and for numbers with an exponent."""
    for number in (4, 5):
        record = {
            "id": 1,
            "previous_hash": GENESIS,
            "reason": "\u2264 1e-7",
            "evidence": {"p": 1e-7},
            "format": number,
        }
        text = json.dumps(record, sort_keys=True, separators=(",", ":"))
        record["hash"] = sha256(text.encode()).hexdigest()
        assert hash_of(record) != record["hash"]
        assert has_own_hash(record) == (number == 4)
        assert not has_own_hash(record | {"reason": "another"})


def test_a_number_that_json_cannot_hold_is_null_in_the_record_and_in_its_hash():
    sealed = seal(draft(share=float("nan")), 1, GENESIS)
    read = msgspec.json.decode(msgspec.json.encode(sealed), type=Decision)
    assert (read.evidence, broken([read])) == ({"share": None}, None)
