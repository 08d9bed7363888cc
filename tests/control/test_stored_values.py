"""Every stored value reads back equal, and fields that only a later version knows are ignored."""

from __future__ import annotations

import json
import typing
from enum import Enum
from functools import cache
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossfade.control.route_record import HomeNames
from crossfade.control.views import Decision
from crossfade.rollout.evaluation import EvaluationInput
from crossfade.rollout.evidence import Evidence
from crossfade.rollout.inputs import decode_inputs, encode_inputs
from crossfade.rollout.machine import RolloutState
from crossfade.rollout.plan import Plan
from crossfade.rollout.verdict import Finding
from tests.tries import tries

LATER = "a_field_of_a_later_version"

PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    bool: st.booleans(),
    int: st.integers(0, 2**64 - 1),
    float: st.floats(allow_nan=False, allow_infinity=False),
    str: st.text(max_size=5),
    type(None): st.none(),
    Any: st.none() | st.integers(0, 9) | st.text(max_size=3) | st.lists(st.booleans(), max_size=2),
}


@cache  # a type is a part of many others
def values(kind: Any) -> st.SearchStrategy[Any]:
    """Of any type that stored values are made of."""
    if kind in PLAIN:
        return PLAIN[kind]
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return st.one_of([values(part) for part in parts])
    if origin is Literal:
        return st.sampled_from(parts)
    if origin is dict:
        return st.dictionaries(values(parts[0]), values(parts[1]), max_size=2)
    if origin is set:
        return st.sets(values(parts[0]), max_size=2)
    if origin is list or (origin is tuple and parts[-1] is ...):
        return st.lists(values(parts[0]), max_size=2).map(origin)
    if origin is tuple:
        return st.tuples(*map(values, parts))
    if issubclass(kind, Enum):
        return st.sampled_from(kind)
    if issubclass(kind, msgspec.Struct):
        return st.builds(kind, **{f.name: values(f.type) for f in msgspec.structs.fields(kind)})
    return st.builds(kind, **{name: values(part) for name, part in typing.get_type_hints(kind).items()})


def as_stored(value: Any, later: bool = False) -> Any:
    """As JSON has it; `later`: each struct has one more field, as if a later version had written it."""
    if isinstance(value, msgspec.Struct):
        out = {f.encode_name: as_stored(getattr(value, f.name), later) for f in msgspec.structs.fields(value)}
        out |= {LATER: {"x": [1]}} if later else {}
        return list(out.values()) if value.__struct_config__.array_like else out
    if isinstance(value, dict):
        return {str(key): as_stored(part, later) for key, part in value.items()}
    if isinstance(value, list | tuple | set):
        return [as_stored(part, later) for part in value]
    return value


STORED = [EvaluationInput, Evidence, Plan, RolloutState, Finding, Decision, HomeNames]


@pytest.mark.parametrize("kind", STORED, ids=lambda kind: kind.__name__)
def test_what_is_stored_reads_back_equal_with_later_fields_too(kind: Any) -> None:
    @settings(max_examples=tries(40), deadline=None)
    @given(values(kind))
    def check(value: Any) -> None:
        packed = msgspec.msgpack.decode(msgspec.msgpack.encode(value), type=kind)
        assert packed == value
        text = json.dumps(msgspec.to_builtins(value, str_keys=True), allow_nan=False)
        assert msgspec.convert(json.loads(text), kind, str_keys=True) == value
        later = json.dumps(as_stored(value, later=True))
        assert msgspec.convert(json.loads(later), kind, str_keys=True) == value

    check()


@settings(max_examples=tries(40), deadline=None)
@given(values(EvaluationInput))
def test_the_inputs_that_a_record_keeps_read_back_equal(inputs: EvaluationInput) -> None:
    kept = decode_inputs(json.loads(json.dumps(encode_inputs(inputs))))
    assert encode_inputs(kept) == encode_inputs(inputs)
    assert decode_inputs(as_stored(kept, later=True)) == kept


def without_optional(value: msgspec.Struct) -> tuple[msgspec.Struct, dict[str, Any]]:
    """The value with every field that has a default set to it, and the object without these fields."""
    fields = msgspec.structs.fields(value)
    needed = {f.name: getattr(value, f.name) for f in fields if f.required}
    names = {f.encode_name: as_stored(getattr(value, f.name)) for f in fields if f.required}
    return type(value)(**needed), names


@pytest.mark.parametrize("kind", STORED, ids=lambda kind: kind.__name__)
def test_missing_fields_take_their_defaults(kind: Any) -> None:
    @settings(max_examples=tries(20), deadline=None)
    @given(values(kind))
    def check(value: Any) -> None:
        expected, fields = without_optional(value)
        assert msgspec.convert(json.loads(json.dumps(fields)), kind, str_keys=True) == expected

    check()
