"""The operations of the model server: what `/openapi.json` says, with an example of each body.

Rule: a route of `ModelServer.routes` that is not here fails tests/backends/test_openapi.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from crossfade_backends.answers import (
    AnyObject,
    Health,
    InferenceAnswer,
    LineRefusal,
    Live,
    ModelReady,
    Prediction,
    Predictions,
    ProtocolModel,
    ProtocolServer,
    Ready,
)
from crossfade_backends.data import FEATURES
from crossfade_backends.faults import Faults
from crossfade_backends.inference import InferenceRequest
from crossfade_backends.rows import MAX_ROWS, Batch, CustomerRow

ROW: Mapping[str, Any] = {
    "customer_id": "C1",
    "nb_transactions_30d": 3,
    "total_amount_30d": 80.5,
    "days_since_last_transaction": 4,
    "support_tickets_90d": 1,
    "subscription_age_days": 200,
}
_TENSOR = {"name": "features", "shape": [1, 5], "datatype": "FP64", "data": [ROW[name] for name in FEATURES]}
_SCORE = 0.22
PREDICTION: Mapping[str, Any] = {
    "customer_id": "C1",
    "churn_probability": _SCORE,
    "risk_level": "low",
    "model_version": "v3",
    "prediction_timestamp": "2026-01-31T12:00:00.000+00:00",
}

NOT_LOADED = {503: "The model is not loaded yet"}
NOT_READY = {503: "Not ready"}
NOT_HERE = {404: "Another model or version"}
TOO_OFTEN = {429: "More requests than --rate-limit allows; Retry-After says when to come again"}
BAD_BODY = {
    400: "The body is not JSON",
    413: f"The body is too large, or has more than {MAX_ROWS} rows",
    422: "The rows are not valid: all that is wrong",
}
BAD_TENSORS = {
    400: "The tensors are not valid",
    413: f"The body is too large, or has more than {MAX_ROWS} rows",
}


@dataclass(frozen=True, slots=True)
class Operation:
    """`answer` None: the text of `media`. `same`: further statuses with the same type of answer.

    `line`: the body can be lines of this, as NDJSON; each gets one of `line_answers`.
    """

    method: str
    path: str
    name: str
    summary: str
    answer: type[BaseModel] | None = None
    media: str = "application/json"
    body: type[BaseModel] | None = None
    body_example: Any = None
    answer_example: Any = None
    errors: Mapping[int, str] = field(default_factory=dict)
    same: Mapping[int, str] = field(default_factory=dict)
    line: type[BaseModel] | None = None
    line_answers: tuple[type[BaseModel], ...] = ()


def _of_model(path: str, suffix: str) -> list[Operation]:
    """The Open Inference Protocol has these with a version in the path and without."""
    return [
        Operation(
            "GET", path, f"describe_model{suffix}", "The tensors that the model takes and gives",
            ProtocolModel, errors=NOT_HERE | NOT_LOADED,
        ),
        Operation(
            "GET", f"{path}/ready", f"model_ready{suffix}", "Whether the model can answer",
            ModelReady, errors=NOT_HERE, same=NOT_READY,
        ),
        Operation(
            "POST", f"{path}/infer", f"infer{suffix}", "Predict rows that come as tensors",
            InferenceAnswer,
            body=InferenceRequest,
            body_example={"id": "1", "inputs": [_TENSOR]},
            answer_example={
                "model_name": "churn",
                "model_version": "v3",
                "outputs": [{"name": "churn_probability", "datatype": "FP64", "shape": [1], "data": [_SCORE]}],
                "id": "1",
            },
            errors=NOT_HERE | NOT_LOADED | BAD_TENSORS | TOO_OFTEN,
        ),
    ]  # fmt: skip


OPERATIONS = (
    Operation(
        "POST", "/predict", "predict", "Predict one customer", Prediction,
        body=CustomerRow, body_example=ROW, answer_example=PREDICTION, errors=NOT_LOADED | BAD_BODY | TOO_OFTEN,
    ),
    Operation(
        "POST", "/batch", "batch", f"Predict up to {MAX_ROWS} customers, or any number line by line", Predictions,
        body=Batch, body_example={"rows": [ROW]}, line=CustomerRow, line_answers=(Prediction, LineRefusal),
        answer_example={"predictions": [PREDICTION], "model_version": "v3"},
        errors=NOT_LOADED | BAD_BODY | TOO_OFTEN,
    ),
    Operation("GET", "/health", "health", "Whether the server can predict", Health, same=NOT_READY),
    Operation("GET", "/live", "live", "Whether the process answers", Live),
    Operation("GET", "/metrics", "metrics", "Metrics for Prometheus", media="text/plain"),
    Operation("GET", "/openapi.json", "openapi", "This document", AnyObject),
    Operation("GET", "/docs", "docs", "A page to try these operations", media="text/html"),
    Operation("GET", "/faults", "show_faults", "The faults that are switched on", Faults),
    Operation(
        "PUT", "/faults", "put_faults", "Switch on these faults, and all others off", Faults,
        body=Faults, body_example={"error_share": 0.2, "error_status": 503},
        errors={each: BAD_BODY[each] for each in (400, 413)} | {422: "The faults are not valid"},
    ),
    Operation("DELETE", "/faults", "delete_faults", "Switch off all faults", Faults),
    Operation("GET", "/v2", "describe_server", "This server, by the Open Inference Protocol", ProtocolServer),
    Operation("GET", "/v2/health/live", "server_live", "Whether the process answers", Live),
    Operation("GET", "/v2/health/ready", "server_ready", "Whether the server can predict", Ready, same=NOT_READY),
    *_of_model("/v2/models/{model}", ""),
    *_of_model("/v2/models/{model}/versions/{version}", "_version"),
)  # fmt: skip
