"""How the answers of a route are read: the `prediction` of the configuration, as plain values."""

from __future__ import annotations

from hashlib import blake2b
from typing import Literal

import msgspec
from msgspec.structs import replace

Protocol = Literal["json", "auto", "oip_v2", "kserve_v1", "mlflow", "openai"]
Path = tuple[str, ...]  # names and array indexes from the root of a JSON document


class SegmentSource(msgspec.Struct, frozen=True):
    """Where the value of a segment is found: in the answer, in the body of the request, or in its head."""

    kind: Literal["answer", "json", "header", "query"]
    name: str

    @property
    def title(self) -> str:
        """As in reasons and reports: `country`, `json plan`, `header x-tenant`."""
        return self.name if self.kind == "answer" else f"{self.kind} {self.name}"

    @property
    def path(self) -> Path:
        """Of `answer` and `json`."""
        return tuple(self.name.split("."))


class Prediction(msgspec.Struct, frozen=True):
    """Paths are empty where they are not declared; of other protocols than `json` they name outputs, if they are declared.

    `decision`: an answer decides yes from this score on. `ignore`: paths that are not compared; `redact`: paths whose
    values are not shown (without any, all texts are hidden). `sample`: out of 10 000, how many answers are read.
    """

    score: Path = ()
    label: Path = ()
    decision: float | None = None
    segment: tuple[SegmentSource, ...] = ()
    protocol: Protocol = "json"
    ignore: tuple[Path, ...] = ()
    redact: tuple[Path, ...] = ()
    sample: int = 10_000

    @property
    def as_read(self) -> str:
        """Names how answers are read. Not `sample`, which changes nothing of what an answer says; what is newly redacted must not
        be shown of older answers.
        """
        return blake2b(msgspec.json.encode(replace(self, sample=0)), digest_size=8).hexdigest()

    @property
    def expects_score(self) -> bool:
        """Whether an answer without a score says too little."""
        return bool(self.score) or self.decision is not None

    @property
    def wants_body(self) -> bool:
        """Whether a segment is found in the body of the request."""
        return any(source.kind == "json" for source in self.segment)

    @property
    def wants_head(self) -> bool:
        return any(source.kind == "header" for source in self.segment)
