"""A plot as inline SVG: scales, axes, and a table of the same numbers for who cannot see it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil, floor, log10

from crossfade.report.markup import Child, Markup, tag
from crossfade.report.words import number

Point = tuple[float, float]
_STEPS = (1, 2, 2.5, 5, 10)
_TIME_STEPS = (
    1,
    2,
    5,
    10,
    15,
    30,
    60,
    120,
    300,
    600,
    900,
    1800,
    3600,
    7200,
    10_800,
    21_600,
    43_200,
    86_400,
)  # seconds


class Scale:
    """From values to places. `low` < `high`, and above 0 on a logarithmic scale. `steps`: between ticks, the smallest first."""

    def __init__(
        self, low: float, high: float, logarithmic: bool = False, steps: Sequence[float] = ()
    ) -> None:
        if high <= low:
            room = abs(low) * 0.1 or 0.5
            low, high = (low / 1.5, low * 1.5) if logarithmic else (low - room, low + room)
        self.low, self.high, self.logarithmic, self.steps = low, high, logarithmic, steps

    def part(self, value: float) -> float:
        """0 at `low`, 1 at `high`, and never beyond."""
        if self.logarithmic:
            value = max(value, self.low)
            found = (log10(value) - log10(self.low)) / (log10(self.high) - log10(self.low))
        else:
            found = value / (self.high - self.low) - self.low / (self.high - self.low)
        return min(max(found, 0.0), 1.0)

    def ticks(self, about: int = 5) -> list[float]:
        if self.logarithmic:
            places = range(floor(log10(self.low)), ceil(log10(self.high)) + 1)
            steps = (1, 2, 5) if log10(self.high / self.low) < 3 else (1,)
            return [t for p in places for s in steps if self.low <= (t := s * 10.0**p) <= self.high]
        rough = (self.high - self.low) / about
        step = next((float(step) for step in self.steps if step >= rough), 0.0) or _round_step(rough)
        first = ceil(self.low / step - 1e-9)
        return [i * step for i in range(first, floor(self.high / step + 1e-9) + 1)]


def since_start(seconds: float) -> Scale:
    """Of time."""
    return Scale(0.0, max(seconds, 1.0), steps=_TIME_STEPS)


def _round_step(rough: float) -> float:
    unit: float = 10.0 ** floor(log10(rough))
    return next(unit * step for step in _STEPS if unit * step >= rough * 0.999)


class Plot:
    """`x` and `y` are the scales of its ground. Marks are drawn in the order in which they are added."""

    left, right, top, bottom = 52.0, 30.0, 12.0, 40.0

    def __init__(
        self, x: Scale, y: Scale, width: float = 520, height: float = 300, left: float = 52.0
    ) -> None:
        self.x, self.y, self.width, self.height, self.left = x, y, width, height, left
        self.marks: list[Markup] = []

    def across(self, value: float) -> float:
        return self.left + self.x.part(value) * (self.width - self.left - self.right)

    def up(self, value: float) -> float:
        return self.height - self.bottom - self.y.part(value) * (self.height - self.top - self.bottom)

    def add(self, mark: Markup) -> None:
        self.marks.append(mark)

    def label(self, x: float, y: float, text: str, class_: str = "tick", anchor: str = "middle") -> None:
        self.add(tag("text", text, x=float(x), y=float(y), class_=class_, text_anchor=anchor))

    def x_axis(self, title: str, words: Callable[[float], str] = number, about: int = 5) -> None:
        low = self.height - self.bottom
        for value in self.x.ticks(about):
            at = self.across(value)
            self.add(tag("line", x1=at, x2=at, y1=self.top, y2=low, class_="grid"))
            self.label(at, low + 15, words(value))
        self.label((self.left + self.width - self.right) / 2, self.height - 5, title, "axis")

    def y_axis(self, words: Callable[[float], str] = number, about: int = 4) -> None:
        for value in self.y.ticks(about):
            at = self.up(value)
            self.add(tag("line", x1=self.left, x2=self.width - self.right, y1=at, y2=at, class_="grid"))
            self.label(self.left - 6, at + 4, words(value), anchor="end")

    def line(self, points: Sequence[Point], class_: str) -> None:
        places = " ".join(f"{self.across(x):.1f},{self.up(y):.1f}" for x, y in points)
        self.add(tag("polyline", points=places, class_=class_))

    def area(self, points: Sequence[Point], class_: str) -> None:
        places = " ".join(f"{self.across(x):.1f},{self.up(y):.1f}" for x, y in points)
        self.add(tag("polygon", points=places, class_=class_))

    def dot(self, x: float, y: float, class_: str, r: float = 3) -> None:
        self.add(tag("circle", cx=self.across(x), cy=self.up(y), r=float(r), class_=class_))

    def upright(self, x: float, class_: str, text: str = "") -> None:
        """A line from bottom to top, where x is on the scale."""
        if self.x.low <= x <= self.x.high:
            at = self.across(x)
            self.add(tag("line", x1=at, x2=at, y1=self.top, y2=self.height - self.bottom, class_=class_))
            if text:
                ends = at > self.width - 110
                self.label(
                    at - 4 if ends else at + 4, self.top + 10, text, "note", "end" if ends else "start"
                )

    def level(self, y: float, class_: str, text: str = "") -> None:
        if self.y.low <= y <= self.y.high:
            at = self.up(y)
            self.add(tag("line", x1=self.left, x2=self.width - self.right, y1=at, y2=at, class_=class_))
            if text:
                self.label(self.width - self.right - 2, at - 5, text, "note", "end")

    def svg(self, name: str, title: str, description: str) -> Markup:
        return tag(
            "svg",
            tag("title", title, id=f"{name}-title"),
            tag("desc", description, id=f"{name}-desc"),
            *self.marks,
            viewBox=f"0 0 {self.width:g} {self.height:g}",
            role="img",
            aria_labelledby=f"{name}-title {name}-desc",
            id=name,
        )


def figure(title: str, plot: Child, caption: Child, table: Child = "", class_: str = "") -> Markup:
    numbers = (
        tag("details", tag("summary", "The numbers"), tag("div", table, class_="scroll")) if table else ""
    )
    return tag("figure", tag("h3", title), plot, tag("figcaption", caption), numbers, class_=class_ or None)


def table(
    columns: Sequence[str], rows: Sequence[Sequence[Child]], caption: str = "", class_: str = ""
) -> Markup:
    """A column whose heading ends with # holds numbers."""
    kinds = ["num" if column.endswith("#") else None for column in columns]
    head = [tag("th", c.rstrip("#"), scope="col", class_=k) for c, k in zip(columns, kinds, strict=True)]
    body = [
        tag("tr", [tag("td", cell, class_=k) for cell, k in zip(row, kinds, strict=True)]) for row in rows
    ]
    named = tag("caption", caption) if caption else ""
    return tag("table", named, tag("thead", tag("tr", head)), tag("tbody", body), class_=class_ or None)


def legend(*entries: tuple[str, str]) -> Markup:
    """(class of the swatch, text)."""
    return tag(
        "p", [tag("span", tag("i", class_=f"swatch {name}"), text) for name, text in entries], class_="legend"
    )
