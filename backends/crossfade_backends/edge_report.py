"""What was measured of versions, as a table, as JSON and as a picture. A version stands below the one that it is made of."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from html import escape
from typing import Any, NamedTuple

from crossfade_backends.edge_bench import Measured
from crossfade_backends.edge_parity import Parity

_COLOURS = {"scikit-learn": "#4477aa", "onnxruntime": "#228833", "int8": "#ccbb44"}
_PANEL, _BAR, _GAP, _LABEL, _MARGIN = 470, 18, 40, 90, 16  # pixels; bars begin after the label
_LONGEST = 12  # letters that have room before a bar; the description has the whole name
_FIGURE = 130  # room for the figure behind a bar


class Line(NamedTuple):
    """`kind`: of _COLOURS. `parity`: with the version that it is made of, None where it is made of none."""

    measured: Measured
    kind: str
    parity: Parity | None


def size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 999.5 or unit == "MB":
            break
        count /= 1000
    return f"{count:.3g} {unit}" if count < 999.5 else f"{count:.0f} {unit}"


def duration(seconds: float) -> str:
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if seconds * factor >= 0.9995 or unit == "µs":
            break
    return f"{seconds * factor:.3g} {unit}"


def table(lines: Sequence[Line]) -> str:
    """Markdown."""
    sizes = [timed.rows for timed in lines[0].measured.timed]
    head = ["version", "runs with", "file", "load", "memory, before → after"]
    head += [f"{_rows(rows)}: p50, p99" for rows in sizes]
    cells = [[*head, "decisions changed"]]
    for measured, _, parity in lines:
        memory = f"{size(measured.memory_before)} → {size(measured.memory)}"
        cells.append(
            [measured.version, measured.framework, size(measured.file), duration(measured.load), memory]
        )
        cells[-1] += [f"{duration(timed.p50)}, {duration(timed.p99)}" for timed in measured.timed]
        cells[-1].append("" if parity is None else f"{parity.share:.2%}")
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    cells.insert(1, ["-" * width for width in widths])
    padded = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in cells]
    return "\n".join(f"| {' | '.join(row)} |" for row in padded) + "\n"


def as_json(lines: Sequence[Line]) -> str:
    return json.dumps([_facts(line) for line in lines], indent=2) + "\n"


def _facts(line: Line) -> dict[str, Any]:
    measured, _, parity = line
    facts = {name: value for name, value in measured._asdict().items() if name != "scores"}
    facts["timed"] = [timed._asdict() for timed in measured.timed]
    if parity is not None:
        facts["parity"] = {"rows": parity.rows, "changed": parity.share, "largest": parity.largest}
    return facts


def _rows(rows: int) -> str:
    return "1 row" if rows == 1 else f"{rows} rows"


class _Panel(NamedTuple):
    """`low` is the bar; a line goes on to `high`."""

    title: str
    low: Callable[[Measured], float]
    high: Callable[[Measured], float]
    told: Callable[[Measured], str]


def _panels(sizes: Sequence[int]) -> list[_Panel]:
    def timed(at: int, rows: int) -> _Panel:
        return _Panel(
            f"{_rows(rows)}: p50, line to p99",
            lambda measured: measured.timed[at].p50,
            lambda measured: measured.timed[at].p99,
            lambda measured: f"{duration(measured.timed[at].p50)}, {duration(measured.timed[at].p99)}",
        )

    return [
        _Panel("file", lambda m: m.file, lambda m: m.file, lambda m: size(m.file)),
        _Panel("load, with imports", lambda m: m.load, lambda m: m.load, lambda m: duration(m.load)),
        _Panel(
            "memory that loading and scoring take",
            lambda m: m.memory - m.memory_before,
            lambda m: m.memory - m.memory_before,
            lambda m: size(m.memory - m.memory_before),
        ),
        *(timed(at, rows) for at, rows in enumerate(sizes)),
    ]


def plot(lines: Sequence[Line]) -> str:
    """An SVG: a panel for each measure, a bar for each version, each panel with a scale of its own from 0."""
    panels = _panels([timed.rows for timed in lines[0].measured.timed])
    height = _GAP + len(lines) * _BAR
    rows = -(-len(panels) // 2)
    width, whole = 2 * _PANEL + 2 * _MARGIN, rows * height + _GAP + _MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {whole}" role="img" '
        'font-family="sans-serif" font-size="12" fill="#222">',
        "<title>Versions for devices</title>",
        f"<desc>{escape('; '.join(_told(line, panels) for line in lines))}</desc>",
        f'<rect width="{width}" height="{whole}" fill="#fff"/>',
    ]
    for number, panel in enumerate(panels):
        x, y = _MARGIN + number % 2 * _PANEL, number // 2 * height + _GAP - 12
        parts += _drawn(panel, lines, x, y)
    for at, (kind, colour) in enumerate(_COLOURS.items()):
        x, y = _MARGIN + at * 130, whole - 24
        parts.append(f'<rect x="{x}" y="{y}" width="12" height="12" fill="{colour}"/>')
        parts.append(f'<text x="{x + 18}" y="{y + 11}">{kind}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _told(line: Line, panels: Sequence[_Panel]) -> str:
    figures = ", ".join(f"{panel.title}: {panel.told(line.measured)}" for panel in panels)
    return f"{line.measured.version}: {figures}"


def _short(version: str) -> str:
    return version if len(version) <= _LONGEST else f"{version[: _LONGEST - 1]}…"


def _drawn(panel: _Panel, lines: Sequence[Line], x: int, y: int) -> list[str]:
    most = max(max(panel.high(line.measured) for line in lines), 1e-12)
    scale = (_PANEL - _LABEL - _FIGURE) / most
    parts = [f'<text x="{x}" y="{y}" font-weight="bold">{escape(panel.title)}</text>']
    for at, (measured, kind, _) in enumerate(lines):
        top = y + 8 + at * _BAR
        low, high = (max(value(measured), 0.0) * scale for value in (panel.low, panel.high))
        begin, middle = x + _LABEL, top + 7
        parts.append(
            f'<text x="{begin - 6}" y="{top + 11}" text-anchor="end">{escape(_short(measured.version))}</text>'
        )
        parts.append(
            f'<rect x="{begin}" y="{top}" width="{low:.1f}" height="{_BAR - 4}" fill="{_COLOURS[kind]}"/>'
        )
        if high > low:
            parts.append(
                f'<path d="M{begin + low:.1f} {middle}H{begin + high:.1f}" stroke="#222" stroke-width="1"/>'
            )
        parts.append(f'<text x="{begin + high + 5:.1f}" y="{top + 11}">{escape(panel.told(measured))}</text>')
    return parts
