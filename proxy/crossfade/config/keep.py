"""`keep`: where pairs of answers are kept as files, and in which format."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Annotated, Literal

from pydantic import Field

from crossfade.config.document import Document
from crossfade.config.problem import Problem
from crossfade.config.section import Period, Section, Size, Text, at_least

INSTALL = "pip install 'crossfade[parquet]'"


def has_pyarrow() -> bool:
    """Whether it is installed; it is not imported, as only the observer writes with it."""
    return find_spec("pyarrow") is not None


class KeepConfig(Section):
    """Pairs of answers, kept as files. They hold the answers as they came, with personal data."""

    dir: Text = Field(description="the folder; it is made where it does not exist")
    format: Literal["auto", "parquet", "jsonl"] = Field(
        default="auto",
        description="parquet, which needs the package pyarrow, or jsonl: JSON lines; auto: parquet where pyarrow is installed",
    )
    max: Annotated[Size, at_least(1_048_576)] = Field(
        default=1_073_741_824, description="the most bytes of all files of the route together"
    )
    rotate: Period = Field(default=3600.0, description="after how long a new file begins")

    @property
    def is_parquet(self) -> bool:
        return self.format == "parquet" or (self.format == "auto" and has_pyarrow())


def parquet_without_pyarrow(document: Document) -> Iterator[Problem]:
    for loc, route in document.each("routes", "*"):
        node = route.child("keep", "format")
        if node is not None and node.text == "parquet" and not has_pyarrow():
            message = f"needs the package pyarrow, which is not installed: {INSTALL}"
            yield document.problem((*loc, "keep", "format"), message)
