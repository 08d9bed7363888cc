"""Points of a route's history: what is known of one stretch of time, how such stretches are joined, and how many are stored.

Rule: pure. A point is a number for each column; a column is a field and a subject, as `requests` of a series or `evidence` of a check.
Counts of a longer stretch are sums, weights and evidence are the last ones, and quantiles are those of all its requests.
Where only the quantiles of its parts are left, p50 is their mean by requests, and p99 the largest, so that no peak is hidden.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Mapping, Sequence
from math import isnan, nan
from sys import byteorder
from typing import NamedTuple

import msgspec

from crossfade.stats.histogram import Histogram
from crossfade.stats.sums import add_up

SEPARATOR = "\t"
SECONDS = "seconds"  # of the stretch, in which the proxy ran
LIVE, COPIES = "live", "copies"  # kinds of series: requests, and mirrored copies, of a backend
COUNTED = ("requests", "errors", "abandoned", "fell_back")
SUMMED = frozenset({SECONDS, *COUNTED})
HOUR, DAY = 3600, 86400
_KEPT = 3  # bytes of a number of four, which is four digits


class Level(NamedTuple):
    """`step`: seconds of one point; `keep`: how long points stay; `block`: seconds of the points that are stored together."""

    step: int
    keep: int
    block: int


LEVELS = (Level(10, 6 * HOUR, 600), Level(60, 2 * DAY, 2 * HOUR), Level(600, 30 * DAY, DAY))
FINEST = LEVELS[0]


class Point(msgspec.Struct, array_like=True):
    """`durations`: buckets of `stats.histogram` by series, as long as they are kept."""

    values: dict[str, float]
    durations: dict[str, dict[int, int]] = {}


def column(field: str, *subject: str) -> str:
    return SEPARATOR.join((field, *subject))


def series(kind: str, backend: str) -> str:
    return SEPARATOR.join((kind, backend))


def joined(points: Sequence[Point]) -> Point:
    """One point for a stretch of time, of the points in it, in order."""
    if len(points) == 1:
        return points[0]
    out: dict[str, float] = {}
    halves: dict[str, tuple[float, float]] = {}  # by series: the sum of p50 × requests, and the requests
    durations: dict[str, dict[int, int]] = {}
    told: dict[str, int] = {}  # by series: in how many points it has a p50, less those that have durations
    for point in points:
        for name, value in point.values.items():
            field, _, of = name.partition(SEPARATOR)
            if field in SUMMED:
                out[name] = out.get(name, 0.0) + value
            elif field == "p99":
                out[name] = max(out.get(name, value), value)
            elif field == "p50":
                n = point.values.get(column("requests", of), 1.0)
                total, requests = halves.get(of, (0.0, 0.0))
                halves[of] = total + value * n, requests + n
                told[of] = told.get(of, 0) + 1
            else:
                out[name] = value
        for of, buckets in point.durations.items():
            add_up(durations.setdefault(of, {}), buckets)
            told[of] = told.get(of, 0) - 1
    for of, (total, requests) in halves.items():
        out[column("p50", of)] = total / requests if requests else 0.0
    for of, buckets in durations.items():
        if told[of] <= 0:
            out |= quantiles(of, buckets)
    return Point(out, durations)


def quantiles(of: str, buckets: Mapping[int, int]) -> dict[str, float]:
    """The columns p50 and p99 (seconds) of a series; none without requests."""
    histogram = Histogram(dict(buckets), sum(buckets.values()))
    if not histogram.count:
        return {}
    half, most = histogram.quantiles((0.5, 0.99))
    return {column("p50", of): half, column("p99", of): most}


def by_step(points: Mapping[int, Point], step: int) -> dict[int, Point]:
    """Joined to stretches of `step` seconds; the keys are the times at which they begin."""
    groups: dict[int, list[Point]] = {}
    for at in sorted(points):
        groups.setdefault(at - at % step, []).append(points[at])
    return {at: joined(group) for at, group in groups.items()}


def packed(points: Mapping[int, Point], start: int, level: Level, before: bytes | None = None) -> bytes:
    """A block of points, without their durations; with those of the block `before`. Raises ValueError for a damaged one."""
    length = level.block // level.step
    columns = {} if before is None else _columns(before, length)
    places = {(at - start) // level.step: point for at, point in points.items()}
    if SECONDS in columns and any(not isnan(columns[SECONDS][place]) for place in places):
        return packed(_both(points, _points(columns, start, level)), start, level)  # the clock was set back
    for place, point in places.items():
        for name, value in point.values.items():
            row = columns.get(name)
            if row is None:
                row = columns[name] = array("f", [nan]) * length
            row[place] = value
    names = sorted(columns)
    data = b"".join([_shuffled(columns[name]) for name in names])
    return zlib.compress(msgspec.msgpack.encode([names, data]), 6)


def unpacked(block: bytes, start: int, level: Level) -> dict[int, Point]:
    """Raises ValueError for bytes that are not such a block."""
    return _points(_columns(block, level.block // level.step), start, level)


def _both(more: Mapping[int, Point], held: Mapping[int, Point]) -> dict[int, Point]:
    return {**held, **{at: joined([held[at], p]) if at in held else p for at, p in more.items()}}


def _columns(block: bytes, length: int) -> dict[str, array[float]]:
    try:
        names, data = msgspec.msgpack.decode(zlib.decompress(block), type=tuple[list[str], bytes])
    except (zlib.error, msgspec.DecodeError) as error:
        raise ValueError(f"a block of the history is damaged: {error}") from error
    size = _KEPT * length
    if len(data) != size * len(names):
        raise ValueError("a block of the history is damaged: it has another length")
    return {name: _in_order(data[size * i : size * (i + 1)]) for i, name in enumerate(names)}


def _points(columns: Mapping[str, array[float]], start: int, level: Level) -> dict[int, Point]:
    out: dict[int, Point] = {}
    for name, row in columns.items():
        for place, value in enumerate(row):
            if value == value:  # no NaN; a call for each of them would be slow
                at = start + place * level.step
                point = out.get(at)
                if point is None:
                    point = out[at] = Point({})
                point.values[name] = value
    return out


def _shuffled(row: array[float]) -> bytes:
    """Without the last byte of each number, and the bytes of like weight together: so most are alike, and take no room."""
    raw = (row if byteorder == "little" else _swapped(row)).tobytes()
    return b"".join([raw[i::4] for i in range(4 - _KEPT, 4)])


def _in_order(data: bytes) -> array[float]:
    length = len(data) // _KEPT
    raw = bytearray(4 * length)
    for i in range(_KEPT):
        raw[4 - _KEPT + i :: 4] = data[i * length : (i + 1) * length]
    row = array("f", bytes(raw))
    return row if byteorder == "little" else _swapped(row)


def _swapped(row: array[float]) -> array[float]:
    out = row[:]
    out.byteswap()
    return out
