"""Quantities as operators write them: durations, sizes, shares, quantiles, numbers.

Rule: values are exact. Text is read as a decimal and never rounded. A value that the proxy could not
represent exactly (a weight finer than 0.01 %, half a byte) is refused. Each function takes text or a number
and raises BadValue.
"""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction

from crossfade.config.problem import BadValue, listed, shown
from crossfade.scale import WHOLE

# No leading zeros (012 is octal in YAML 1.1), and a bounded number of digits.
_DIGITS = r"(?:0|[1-9]\d{0,17})(?:\.\d{1,18})?"
NUMBER = re.compile(rf"[-+]?{_DIGITS}(?:[eE][-+]?\d{{1,2}})?")
INTEGER = re.compile(r"[-+]?(?:0|[1-9]\d{0,17})")

_DURATION_UNITS: dict[str, int | Decimal] = {
    "y": 365 * 86_400,
    "d": 86_400,
    "h": 3600,
    "m": 60,
    "s": 1,
    "ms": Decimal("0.001"),
}
_DURATION_PART = re.compile(rf"({_DIGITS})(ms|[ydhms])")
_DURATION = re.compile(rf"(?:{_DIGITS}(?:ms|[ydhms]))+")
_MAX_SECONDS = 3650 * 86_400

SIZE_UNITS = {
    "": 1,
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
_SIZE = re.compile(rf"({_DIGITS})\s?([A-Za-z]*)")

SHARE = re.compile(rf"({_DIGITS})\s?%")
_QUANTILE = re.compile(rf"p({_DIGITS})")


def number(value: object) -> Decimal:
    """Any finite number."""
    if isinstance(value, bool | dict | list | tuple) or value is None:
        raise BadValue(f"must be a number, not {shown(value)}")
    text = value if isinstance(value, str) else repr(value) if isinstance(value, float) else str(value)
    if not NUMBER.fullmatch(text):
        raise BadValue(f"must be a number, not {shown(value)}")
    return Decimal(text)


def whole(value: object) -> int:
    """Any integer."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if not isinstance(value, str) or not INTEGER.fullmatch(value):
        raise BadValue(f"must be a whole number, not {shown(value)}")
    return int(value)


def seconds(value: object) -> float:
    """A duration in seconds; a number without a unit is seconds."""
    total = Decimal(0)
    if isinstance(value, str) and _DURATION.fullmatch(value):
        parts = _DURATION_PART.findall(value)
        order = [list(_DURATION_UNITS).index(unit) for _, unit in parts]
        if order != sorted(set(order)):
            raise BadValue(f"must name each unit once, the longest first, as in 1m30s, not {shown(value)}")
        total = sum((Decimal(amount) * _DURATION_UNITS[unit] for amount, unit in parts), total)
    else:
        total = _plain_seconds(value)
    if total < 0:
        raise BadValue("must not be negative")
    if total > _MAX_SECONDS:
        raise BadValue("must be at most 3650d")
    return float(total)


def _plain_seconds(value: object) -> Decimal:
    try:
        return number(value)
    except BadValue:
        message = f"must be a duration such as 250ms, 2s, 24h or 1m30s, not {shown(value)}"
        raise BadValue(message, _suggested_duration(value)) from None


def _suggested_duration(value: object) -> str | None:
    """A valid spelling, such as `24h` for `24 hours`; None if there is none."""
    if not isinstance(value, str):
        return None
    text = value.lower().replace("milli", "ms")
    text = re.sub(r"(\d)\s*(ms|[ydhms])[a-z]*\s*", r"\1\2", text)
    return text if _DURATION.fullmatch(text) else None


def size(value: object) -> int:
    """A number of bytes."""
    found = _SIZE.fullmatch(value if isinstance(value, str) else str(value))
    if found is None or isinstance(value, bool):
        raise BadValue(f"must be a size such as 64KiB, 10MiB or 512, not {shown(value)}")
    amount, unit = found.groups()
    if unit not in SIZE_UNITS:
        near = next((u for u in SIZE_UNITS if u and u.lower() in (unit.lower(), unit.lower() + "ib")), None)
        message = f"must be a size in {listed(u for u in SIZE_UNITS if u)}, not {shown(value)}"
        raise BadValue(message, near and amount + near)
    exact = Fraction(amount) * SIZE_UNITS[unit]
    if exact.denominator != 1:
        raise BadValue(f"must be a whole number of bytes, {shown(value)} is not")
    if exact > 2**50:
        raise BadValue("must be at most 1024TiB")
    return int(exact)


def share(value: object) -> Decimal:
    """A share from 0 to 1, from `1%` or `0.01`."""
    percentage = SHARE.fullmatch(value) if isinstance(value, str) else None
    if percentage:
        exact = Decimal(percentage[1]) / 100
    else:
        try:
            exact = number(value)
        except BadValue:
            raise BadValue(f"must be a share such as 1% or 0.01, not {shown(value)}") from None
    if exact < 0:
        raise BadValue("must not be negative")
    if exact > 1:
        hint = f"{value}%" if not percentage and exact <= 100 else None
        raise BadValue(f"must be at most 100% (which is 1), not {shown(value)}", hint)
    return exact


def weight(value: object) -> int:
    """A share as an integer out of 10 000. An int from Python is taken as it is; the file gives text."""
    if type(value) is int:
        if not 0 <= value <= WHOLE:
            raise BadValue(f"must be from 0 to {WHOLE}, not {value}")
        return value
    parts = share(value) * WHOLE
    if parts != int(parts):
        raise BadValue(f"must be a multiple of 0.01%, {shown(value)} is finer")
    return int(parts)


def quantile(value: object) -> float:
    """A quantile between 0 and 1 (exclusive), from `p99`, `p99.9` or `0.99`."""
    found = _QUANTILE.fullmatch(value) if isinstance(value, str) else None
    try:
        exact = Decimal(found[1]) / 100 if found else number(value)
    except BadValue:
        exact = Decimal(-1)
    if not 0 < exact < 1:
        hint = f"p{value}" if 1 < exact < 100 else None
        raise BadValue(f"must be a quantile such as p50, p99 or p99.9, not {shown(value)}", hint)
    return float(exact)


def percent(fraction: float) -> str:
    """0.005 → `0.5%`."""
    return f"{fraction * 100:.10g}%"


def span(duration: float) -> str:
    """Seconds with a unit: 0.2 → `200ms`, 1.5 → `1.5s`."""
    return f"{duration * 1000:.10g}ms" if duration < 1 else f"{duration:.10g}s"
