"""Which protocol an answer speaks: the declared one, or for `auto` what path and shape say.

Rule: for `auto` the shape decides, and the path only where a shape may be of more than one protocol. What has no known
shape is plain JSON with the declared paths.
"""

from __future__ import annotations

from typing import Any

from crossfade.quality.answer import Answer
from crossfade.quality.json_document import says_error
from crossfade.quality.json_paths import read_paths
from crossfade.quality.kserve_v1 import has_predictions, read_kserve
from crossfade.quality.mlflow import read_mlflow
from crossfade.quality.oip_binary import PackedTensors
from crossfade.quality.oip_v2 import is_oip, read_oip
from crossfade.quality.ollama import is_ollama, read_ollama
from crossfade.quality.openai import is_openai, read_openai
from crossfade.quality.openai_responses import is_response, read_response
from crossfade.quality.prediction import Prediction, Protocol
from crossfade.quality.tf_results import results_in
from crossfade.quality.unreadable import MISSING


def read_document(document: Any, target: bytes, prediction: Prediction, packed: PackedTensors) -> Answer:
    match prediction.protocol:
        case "json":
            return read_paths(document, prediction)
        case "auto":
            return _read_recognised(document, target, prediction, packed)
        case named:
            return _read_named(named, document, prediction, packed)


def _read_recognised(document: Any, target: bytes, prediction: Prediction, packed: PackedTensors) -> Answer:
    if is_ollama(document):
        return read_ollama(document, prediction)
    protocol = recognised(document, target)
    if protocol == "json":
        return read_paths(document, prediction)
    answer = _read_named(protocol, document, prediction, packed)
    if (
        answer.unread == MISSING.unread and not answer.error
    ):  # the declared names may be paths of the document
        by_path = read_paths(document, prediction)
        if not by_path.unread:
            return by_path
    return answer


def _read_named(protocol: Protocol, document: Any, prediction: Prediction, packed: PackedTensors) -> Answer:
    match protocol:
        case "oip_v2":
            return read_oip(document, prediction, packed)
        case "kserve_v1":
            return read_kserve(document, prediction)
        case "mlflow":
            return read_mlflow(document, prediction)
        case "openai" if is_response(document):
            return read_response(document, prediction)
        case "openai":
            return read_openai(document, prediction)
        case "json" | "auto":
            return read_paths(document, prediction)


def recognised(document: Any, target: bytes) -> Protocol:
    by_path = protocol_of_path(target)
    if is_oip(document) and (document["outputs"] or by_path == "oip_v2"):
        return "oip_v2"
    if is_response(document):
        return "openai"
    if is_openai(document) and (by_path == "openai" or document.get("choices") or document.get("data")):
        return "openai"
    if by_path == "mlflow" and (
        isinstance(document, list) or (isinstance(document, dict) and "error_code" in document)
    ):
        return "mlflow"
    if by_path == "kserve_v1" and results_in(document) is not None:
        return "kserve_v1"
    if has_predictions(document):
        return by_path if by_path == "mlflow" else "kserve_v1"
    return by_path if says_error(document) else "json"


def protocol_of_path(target: bytes) -> Protocol:
    """By the end of the path, since a proxy may serve a model below any prefix. `json`: of no known protocol."""
    path = target.partition(b"?")[0].rstrip(b"/")
    if path.endswith(b"/infer") and b"/v2/models/" in path:
        return "oip_v2"
    if path.endswith((b":predict", b":classify", b":regress")) and b"/v1/models/" in path:
        return "kserve_v1"
    if path.endswith(b"/invocations"):
        return "mlflow"
    if path.endswith((b"/completions", b"/embeddings", b"/v1/responses", b"/openai/responses")):
        return "openai"
    return "json"
