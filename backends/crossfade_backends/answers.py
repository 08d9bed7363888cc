"""The answers of the model server as types, for its API's document. tests/backends/test_openapi.py holds the server to them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Probability = Annotated[float, Field(ge=0, le=1)]


class Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Prediction(Answer):
    customer_id: str | int
    churn_probability: Probability
    risk_level: Literal["low", "medium", "high"]
    model_version: str
    prediction_timestamp: Annotated[str, Field(json_schema_extra={"format": "date-time"})]


class Predictions(Answer):
    """One for each row, in their order."""

    predictions: list[Prediction]
    model_version: str


class ProblemFound(Answer):
    """`loc`: the path to the value, from `body` on. `type`: a word for programs."""

    loc: list[str | int]
    msg: str
    type: str


class Refusal(Answer):
    """An error: everything that is wrong with the request."""

    detail: list[ProblemFound]


class LineRefusal(Refusal):
    """In the place of a line that is not a valid row. Lines count from 1."""

    line: Annotated[int, Field(ge=1)]


class ProtocolRefusal(Answer):
    """An error of the Open Inference Protocol."""

    error: str


class Health(Answer):
    status: Literal["ok", "loading", "failed", "unhealthy"]
    model: str
    version: str
    error: str = ""


class Live(Answer):
    live: Literal[True]


class Ready(Answer):
    ready: bool


class ModelReady(Answer):
    name: str
    ready: bool


class ProtocolServer(Answer):
    name: str
    version: str
    extensions: list[str]


class Tensor(Answer):
    name: str
    datatype: str
    shape: list[int]


class OutputTensor(Tensor):
    data: list[Probability]


class ProtocolModel(Answer):
    name: str
    versions: list[str]
    platform: str
    inputs: list[Tensor]
    outputs: list[Tensor]


class InferenceAnswer(Answer):
    model_name: str
    model_version: str
    outputs: list[OutputTensor]
    id: str = ""


class AnyObject(BaseModel):
    model_config = ConfigDict(extra="allow")

    __pydantic_extra__: dict[str, Any]
