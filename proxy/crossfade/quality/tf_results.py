"""TensorFlow Serving's `:classify` and `:regress`: `results`, one for each example (its documentation writes `result`).

Rule: an example that was classified is a list of pairs of a label and a score. Its outputs are the label with the highest score, if
labels have names, and the scores in the order of the labels' names, so that two models may list them in any order.
"""

from __future__ import annotations

from typing import Any, Final

from crossfade.quality.answer import Output
from crossfade.quality.outputs import MOST_ROWS, RowBuilder, output_of, vector_of
from crossfade.quality.prediction import Prediction
from crossfade.quality.predictions import declarations
from crossfade.quality.unreadable import MISSING, NOT_A_NUMBER, SHAPE, Problem

_NAMES: Final = ("results", "result")


def results_in(document: Any) -> list[Any] | None:
    """None where the answer is another one."""
    if not isinstance(document, dict) or len(document) != 1:
        return None
    found = next((document[name] for name in _NAMES if name in document), None)
    return found if isinstance(found, list) else None


def read_results(results: list[Any], prediction: Prediction) -> RowBuilder:
    builder = RowBuilder()
    for result in results[:MOST_ROWS]:
        if isinstance(result, list):
            builder.add(_classified(result, prediction))
        else:
            builder.add(_regressed(result, prediction))
    return builder


def _regressed(value: Any, prediction: Prediction) -> list[Output | Problem]:
    """The declared name is that of the list."""
    declared = declarations(prediction)
    if not declared:
        return [output_of(value, "", "score")]
    return [
        output_of(value, "", wanted) if len(path) == 1 and path[0] in _NAMES else MISSING
        for path, wanted in declared
    ]


def _classified(classes: list[Any], prediction: Prediction) -> list[Output | Problem]:
    """`score: NAME` is the score of the class with this name; `label: results` the name of the most likely one."""
    pairs: list[tuple[str, float]] = []
    for each in classes:
        if not (isinstance(each, list) and len(each) == 2 and isinstance(each[0], str)):
            return [SHAPE]
        if type(each[1]) not in (int, float):
            return [NOT_A_NUMBER if each[1] is None else SHAPE]
        pairs.append((each[0], each[1]))
    if not pairs:
        return [SHAPE]
    named = all(name for name, _ in pairs)
    if named:
        pairs.sort()
    declared = declarations(prediction)
    if declared:
        return [_picked(pairs, ".".join(path), wanted == "label") for path, wanted in declared]
    scores = [score for _, score in pairs]
    one = output_of(scores[0], "", "score") if len(scores) == 1 else vector_of(scores, "", "score")
    return [_likeliest(pairs), one] if named else [one]


def _picked(pairs: list[tuple[str, float]], name: str, label: bool) -> Output | Problem:
    if label:
        return _likeliest(pairs) if name in _NAMES else MISSING
    found = [score for each, score in pairs if each == name]
    return output_of(found[0], name, "score") if found else MISSING


def _likeliest(pairs: list[tuple[str, float]]) -> Output | Problem:
    """Of several with the same score the first by name; NaN is no score."""
    if any(score != score for _, score in pairs):
        return NOT_A_NUMBER
    name = min(pairs, key=lambda pair: (-pair[1], pair[0]))[0]
    return output_of(name, "", "label") if name else MISSING
