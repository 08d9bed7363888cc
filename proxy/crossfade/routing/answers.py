"""How a route's answers are read: from the bytes of a body to what the model says.

Rule: the reader is chosen once for each route of a snapshot (`reader_of`). Whoever reads answers knows the
reader's methods and no format. What cannot be read says nothing; a reader never raises.
"""

from __future__ import annotations

from typing import Any

from crossfade.quality.prediction import Prediction
from crossfade.routing.key import decode_json, json_field

LARGEST_SCORE = 1e300  # what is not below it, as NaN is not, is no score
LONGEST_LABEL = 256  # characters; of a segment's value too

PredictedClass = bool | int | float | str  # yes or no, or a label


class AnswerReader:
    """`read` decodes a body; the other methods take what it returned."""

    scores: bool  # whether answers of this route have a score

    def read(self, body: bytes) -> Any:
        raise NotImplementedError

    def score(self, content: Any) -> float | None:
        raise NotImplementedError

    def label(self, content: Any) -> PredictedClass | None:
        raise NotImplementedError

    def predicts(self, content: Any, score: float | None) -> bool:
        """Whether the answer says what the route declares: its score, which the caller has read, and its label."""
        raise NotImplementedError

    def decision(self, content: Any) -> PredictedClass | None:
        """Yes or no where scores have a threshold, else the label; None where the answer does not tell."""
        raise NotImplementedError

    def segment(self, content: Any) -> tuple[str, ...]:
        """The values of the route's segment fields, each empty where it is absent."""
        raise NotImplementedError


class JsonReader(AnswerReader):
    """Values at paths of a JSON document."""

    def __init__(self, prediction: Prediction) -> None:
        self.scores = bool(prediction.score)
        self.score_path = prediction.score
        self.label_path = prediction.label
        self.threshold = prediction.decision
        self.segment_paths = [source.path if source.kind == "answer" else () for source in prediction.segment]

    def read(self, body: bytes) -> Any:
        return decode_json(body)

    def score(self, content: Any) -> float | None:
        score = json_field(content, self.score_path) if self.scores else None
        if isinstance(score, bool) or not isinstance(score, int | float):
            return None
        return (
            score if -LARGEST_SCORE < score < LARGEST_SCORE else None
        )  # an int may be larger than any float

    def label(self, content: Any) -> PredictedClass | None:
        label = json_field(content, self.label_path) if self.label_path else None
        if isinstance(label, str):
            return label if len(label) <= LONGEST_LABEL else None
        return label if isinstance(label, bool | int | float) else None

    def predicts(self, content: Any, score: float | None) -> bool:
        if self.scores and score is None:
            return False
        return not self.label_path or isinstance(
            json_field(content, self.label_path), bool | int | float | str
        )

    def decision(self, content: Any) -> PredictedClass | None:
        if self.threshold is None:
            return self.label(content)
        score = self.score(content)
        return None if score is None else score >= self.threshold

    def segment(self, content: Any) -> tuple[str, ...]:
        return tuple(
            [segment_value(json_field(content, path)) if path else "" for path in self.segment_paths]
        )


def segment_value(value: Any) -> str:
    """Text as it is, numbers as Python spells them, `true` and `false`; empty for what is no single value."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        value = str(value)
    return value if isinstance(value, str) and len(value) <= LONGEST_LABEL else ""


def reader_of(prediction: Prediction | None) -> AnswerReader | None:
    """None where nothing is asked of the answers. A further protocol of answers is chosen here."""
    return None if prediction is None else JsonReader(prediction)
