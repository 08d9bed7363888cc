"""Parses the bodies of `/predict` and `/batch` into typed rows, or reports all their problems at once.

Rule: the fields of a row and their limits are defined only here (`LIMITS`, `CustomerRow`); `inference`
applies the same limits to tensors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationError, WithJsonSchema
from pydantic_core import PydanticCustomError

from crossfade_backends.data import FEATURES, FloatArray
from crossfade_backends.replies import Problem, Refused

# High enough for every real customer; a larger number is a wrong unit or an attack.
LIMITS: Mapping[str, int] = {
    "nb_transactions_30d": 1_000_000,
    "total_amount_30d": 1_000_000_000,
    "days_since_last_transaction": 36_525,
    "support_tickets_90d": 1_000_000,
    "subscription_age_days": 36_525,
}
MAX_ROWS = 10_000
_MAX_ID_LENGTH = 256
MAX_PROBLEMS = 100


def _check_customer_id(value: Any) -> str | int:
    if isinstance(value, str) and value.strip() and len(value) <= _MAX_ID_LENGTH:
        return value
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63:
        return value
    raise PydanticCustomError(
        "customer_id",
        f"Input should be a non-empty string of up to {_MAX_ID_LENGTH} characters, or a 64-bit integer",
    )


# What `_check_customer_id` takes, in the document of the API.
_CUSTOMER_ID = {
    "anyOf": [
        {"type": "string", "maxLength": _MAX_ID_LENGTH, "pattern": r"\S"},
        {"type": "integer", "exclusiveMinimum": -(2**63), "exclusiveMaximum": 2**63},
    ]
}


def count(feature: str) -> Any:
    return Field(ge=0, le=LIMITS[feature], description="Written without a point: 3, not 3.0.")


class CustomerRow(BaseModel):
    # Strict: "3" is not a count. Unknown keys are ignored, because clients may send more
    # than one model needs.
    model_config = ConfigDict(strict=True)

    customer_id: Annotated[str | int, PlainValidator(_check_customer_id), WithJsonSchema(_CUSTOMER_ID)]
    nb_transactions_30d: int = count("nb_transactions_30d")
    total_amount_30d: float = Field(ge=0, le=LIMITS["total_amount_30d"], allow_inf_nan=False)
    days_since_last_transaction: int = count("days_since_last_transaction")
    support_tickets_90d: int = count("support_tickets_90d")
    subscription_age_days: int = count("subscription_age_days")


class Batch(BaseModel):
    model_config = ConfigDict(strict=True)

    rows: list[CustomerRow] = Field(min_length=1, max_length=MAX_ROWS)


Body = TypeVar("Body", bound=BaseModel)


def parse_body(schema: type[Body], body: bytes) -> Body:
    """Raises Refused: 400 if the body is not JSON, 413 for too many rows, else 422 with every problem."""
    try:
        return schema.model_validate_json(body)
    except ValidationError as invalid:
        raise refusal(invalid) from None


def refusal(invalid: ValidationError) -> Refused:
    errors = invalid.errors(include_url=False, include_context=False, include_input=False)
    status = 422
    if errors[0]["type"] == "json_invalid":
        status = 400
    elif any(error["type"] == "too_long" for error in errors):
        status = 413
    problems = [Problem(("body", *error["loc"]), error["msg"], error["type"]) for error in errors]
    if (omitted := len(problems) - MAX_PROBLEMS) > 0:
        problems[MAX_PROBLEMS:] = [Problem(("body",), f"{omitted} more problems", "too_many_problems")]
    return Refused(status, problems)


def as_matrix(rows: Sequence[CustomerRow]) -> FloatArray:
    """(n, 5), in the order of FEATURES."""
    return np.array([[getattr(row, name) for name in FEATURES] for row in rows], dtype=np.float64)
