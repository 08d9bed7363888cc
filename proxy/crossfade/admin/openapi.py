"""The admin API as OpenAPI 3.1: paths written by hand, schemas generated from the views.

A test compares paths and methods with the router.
"""

from __future__ import annotations

from typing import Any

import msgspec

from crossfade.admin.problems import MEDIA_TYPE
from crossfade.admin.session_api import SessionView
from crossfade.control import views
from crossfade.control.draining import DRAIN, UNDRAIN
from crossfade.control.drift_view import DriftView
from crossfade.control.prediction_export import PredictionRow
from crossfade.control.valuing import ValueView
from crossfade.quality.comparison_summary import ComparisonSummary
from crossfade.quality.feedback import LABEL, LONGEST_NAME, FeedbackAnswer
from crossfade.quality.label_summary import LabelSummary

SHOWN = (
    SessionView,
    views.StatusView,
    views.RouteView,
    views.BackendView,
    views.RolloutView,
    views.WhyView,
    views.Decision,
    views.LoadedChange,
    DriftView,
    ValueView,
    views.RetrainView,
    ComparisonSummary,
    PredictionRow,
    FeedbackAnswer,
    LabelSummary,
)
MAX_REASON = 500  # characters
DECISIONS, MAX_DECISIONS = 100, 1000  # in one response: the default, and the maximum
COMPONENT = "#/components/schemas/{name}"
PROBLEM = {
    "type": "object",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
    },
    "required": ["type", "title", "status", "detail"],
}
CHECKED = {
    "hash": {"type": "string"},
    "warnings": {"type": "array", "items": {"type": "object"}},
    "changes": {"type": "array", "items": {"$ref": "#/components/schemas/LoadedChange"}},
    "restart_needed": {"type": "array", "items": {"type": "string"}},
}
CONFIG = {
    "type": "object",
    "properties": {
        "source": {"type": "string"},
        "text": {"type": "string"},
        "loaded_at": {"type": "number"},
        **CHECKED,
    },
}
WEIGHTS = {
    "type": "object",
    "additionalProperties": {"type": "number", "minimum": 0},
    "minProperties": 1,
    "example": {"churn-v2": 95, "churn-v3": 5},
}
VALUE = {"type": ["boolean", "number", "string"]}
FEEDBACK_ROW = {
    "type": "object",
    "properties": {
        "request_id": {"type": "string", "description": "of the prediction; or else route, key and at"},
        "route": {"type": "string"},
        "key": {"type": ["string", "number"], "description": "the sticky key"},
        "at": {
            "type": "number",
            "description": "the prediction is the latest that had begun then; seconds since the epoch",
        },
        "name": {"type": "string", "default": LABEL, "maxLength": LONGEST_NAME},
        "value": VALUE,
        "label": VALUE,
    },
    "additionalProperties": False,
}
FEEDBACK_BODIES = {
    "application/json": {"schema": {"oneOf": [FEEDBACK_ROW, {"type": "array", "items": FEEDBACK_ROW}]}},
    "application/x-ndjson": {"schema": FEEDBACK_ROW},
}
REASON = {"type": "object", "properties": {"reason": {"type": "string", "maxLength": MAX_REASON}}}


def document(version: str) -> dict[str, Any]:
    _, schemas = msgspec.json.schema_components(SHOWN, ref_template=COMPONENT)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Crossfade admin API", "version": version},
        "paths": PATHS,
        "components": {
            "schemas": {**schemas, "Problem": PROBLEM, "Config": CONFIG},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}, {}],
    }


def operation(
    summary: str,
    answer: dict[str, Any],
    *parameters: dict[str, Any],
    body: dict[str, Any] | None = None,
    media: str = "application/json",
    taking: str = "application/json",
    accepted: str = "",
    status: str = "200",
) -> dict[str, Any]:
    """`status`: of success. `accepted`: what an answer 202 beside it says."""
    described: dict[str, Any] = {
        "summary": summary,
        "responses": {
            status: {"description": "OK", "content": {media: {"schema": answer}}},
            "default": {
                "description": "An error (RFC 9457)",
                "content": {MEDIA_TYPE: {"schema": ref("Problem")}},
            },
        },
    }
    if accepted:
        described["responses"]["202"] = {"description": accepted, "content": {media: {"schema": answer}}}
    if parameters:
        described["parameters"] = list(parameters)
    if body is not None:
        described["requestBody"] = {"content": {taking: {"schema": body}}}
    return described


def ref(name: str) -> dict[str, Any]:
    return {"$ref": COMPONENT.format(name=name)}


def many(key: str, name: str) -> dict[str, Any]:
    listed = {"type": "array", "items": ref(name)}
    return {"type": "object", "properties": {key: listed}, "required": [key]}


def in_path(name: str, values: list[str] | None = None) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string", "enum": values} if values else {"type": "string"}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def in_query(name: str, of: str, **limits: object) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": {"type": of, **limits}}


TEXT = {"type": "string"}
ROUTE = in_path("route")
CHALLENGER = in_query("challenger", "string") | {
    "description": "names the rollout; required where the route has several"
}
FORCE = in_query("force", "boolean", default=False) | {
    "description": "true: also if a backend that gets more traffic is down; without it the answer is then 409"
}
LAST_EVENT = {"name": "Last-Event-ID", "in": "header", "schema": {"type": "integer"}}
VERB = in_path("verb", [verb.value for verb in views.Verb])

PATHS: dict[str, Any] = {
    "/": {"get": operation("The dashboard", TEXT, media="text/html")},
    "/static/{file}": {
        "get": operation("A file of the dashboard", TEXT, in_path("file"), media="text/javascript")
    },
    "/healthz": {"get": operation("200 while the process lives", TEXT, media="text/plain")},
    "/readyz": {"get": operation("200 when ready, 503 while not, or draining", TEXT, media="text/plain")},
    "/metrics": {"get": operation("Metrics for Prometheus", TEXT, media="text/plain")},
    "/openapi.json": {"get": operation("This document", {"type": "object"})},
    "/api/v1/session": {
        "get": operation("Who the caller is; 401 if nobody", ref("SessionView")),
        "post": operation(
            "Log in: a cookie that stands for the token",
            ref("SessionView"),
            body={"type": "object", "properties": {"token": TEXT}, "required": ["token"]},
        ),
        "delete": operation("Log out", {}, status="204"),
    },
    "/api/v1/status": {
        "get": operation("Workers, routes, rollouts, backends and configuration", ref("StatusView"))
    },
    "/api/v1/routes": {"get": operation("All routes", many("routes", "RouteView"))},
    "/api/v1/routes/{route}": {"get": operation("One route", ref("RouteView"), ROUTE)},
    "/api/v1/routes/{route}/split": {
        "put": operation(
            "Set the split; the response comes when all workers serve by it",
            ref("RouteView"),
            ROUTE,
            FORCE,
            body=WEIGHTS,
        )
    },
    "/api/v1/backends": {"get": operation("All backends", many("backends", "BackendView"))},
    "/api/v1/backends/{backend}": {"get": operation("One backend", ref("BackendView"), in_path("backend"))},
    "/api/v1/backends/{backend}/endpoints/{endpoint}/{verb}": {
        "post": operation(
            "No new requests for an endpoint, or requests again; the response comes when all workers do so",
            ref("EndpointView"),
            in_path("backend"),
            in_path("endpoint")
            | {"description": "its name or its URL, percent-encoded: http:%2F%2F10.0.0.2:8000"},
            in_path("verb", [DRAIN, UNDRAIN]),
            in_query("force", "boolean", default=False)
            | {"description": "true: also the last available endpoint; without it the answer is then 409"},
            body=REASON,
        )
    },
    "/api/v1/rollouts": {
        "get": operation("All rollouts", many("rollouts", "RolloutView"), in_query("route", "string"))
    },
    "/api/v1/rollouts/{route}": {
        "get": operation("The rollout of a route", ref("RolloutView"), ROUTE, CHALLENGER)
    },
    "/api/v1/rollouts/{route}/{verb}": {
        "post": operation(
            "Pause, resume, promote, abort, roll back or retry a rollout",
            ref("RolloutView"),
            ROUTE,
            VERB,
            CHALLENGER,
            FORCE,
            body=REASON,
            accepted="In force, and not in the journal yet: `not_durable` says where it is kept",
        )
    },
    "/api/v1/rollouts/{route}/why": {
        "get": operation(
            "The last decision, its evidence, and what would change it", ref("WhyView"), ROUTE, CHALLENGER
        )
    },
    "/api/v1/comparisons/{route}": {
        "get": operation(
            "What mirrored pairs of answers say: the challenger's answers beside the champion's to the same requests",
            ref("ComparisonSummary"),
            ROUTE,
            CHALLENGER | {"description": "names the comparison; required where the route has several"},
        )
    },
    "/api/v1/retrain/{route}": {
        "post": operation(
            "Order that the model of a route is trained again, by whoever `retrain` in the file names",
            ref("RetrainView"),
            ROUTE,
            body=REASON,
            status="202",
        )
    },
    "/api/v1/predictions/{route}": {
        "get": operation(
            "Predictions of a route with `feedback`, oldest first, a line of JSON each: what was asked, what was answered, and the "
            "feedback that came",
            ref("PredictionRow"),
            ROUTE,
            in_query("labelled", "boolean")
            | {"description": "true: only rows with feedback; false: only rows without"},
            in_query("since", "string")
            | {"description": "from this time on: seconds since 1970, or ISO 8601 with a zone"},
            in_query("until", "string") | {"description": "before this time"},
            in_query("limit", "integer", minimum=1) | {"description": "the newest so many"},
            media="application/x-ndjson",
        )
    },
    "/api/v1/labels/{route}": {
        "get": operation(
            "What ripe labels and KPIs say of each backend: the newest million predictions that are `horizon` old",
            ref("LabelSummary"),
            ROUTE,
            in_query("name", "string", default="label")
            | {"description": "of the feedback that is the label"},
            in_query("since", "string")
            | {"description": "from this time on: seconds since 1970, or ISO 8601 with a zone"},
        )
    },
    "/api/v1/drift/{route}": {
        "get": operation(
            "How far inputs, scores and losses are from what they were, and the alarms",
            ref("DriftView"),
            ROUTE,
        )
    },
    "/api/v1/baseline/{route}": {
        "get": operation("The profile that live values are compared with", {"type": "object"}, ROUTE),
        "put": operation(
            "Compare with this profile from now on; 409 where the configuration names one",
            ref("DriftView"),
            ROUTE,
            body={"type": "object"},
        ),
        "post": operation(
            "Make a profile of the requests from now on; the present one is used until then",
            ref("DriftView"),
            ROUTE,
            status="202",
        ),
    },
    "/api/v1/value/{route}": {
        "get": operation(
            "What another split would have been worth, by ripe labels; `refused` says why where nothing can be said",
            ref("ValueView"),
            ROUTE,
            in_query("if", "string")
            | {
                "description": "a rule, such as churn-v3=50% or country=DE: churn-v3=100%; give it again for more: the first that matches counts",
                "required": True,
            },
            in_query("name", "string", default="label") | {"description": "of the feedback"},
            in_query("measure", "string")
            | {
                "description": "kpi: the number itself; accuracy: was the answer right? The default for the name label"
            },
            in_query("since", "string")
            | {"description": "from this time on: seconds since 1970, or ISO 8601 with a zone"},
        )
    },
    "/api/v1/decisions": {
        "get": operation(
            "Decisions, oldest first: those above `after`, or the newest; fewer than `limit` where they are larger "
            "than 4 MiB together, so ask again with the last id until there are none",
            many("decisions", "Decision"),
            in_query("route", "string"),
            in_query("after", "integer", minimum=0),
            in_query("limit", "integer", minimum=1, maximum=MAX_DECISIONS, default=DECISIONS),
        )
    },
    "/api/v1/feedback": {
        "post": operation(
            "What became known later of predictions: an object, a list of at most 100 000, or NDJSON",
            ref("FeedbackAnswer"),
            status="202",
        )
        | {"requestBody": {"content": FEEDBACK_BODIES}}
    },
    "/api/v1/events": {
        "get": operation(
            "Decisions and changes of status as they happen", TEXT, LAST_EVENT, media="text/event-stream"
        )
    },
    "/api/v1/config": {
        "get": operation("The configuration in use", ref("Config")),
        "post": operation(
            "Check a configuration without using it",
            {"type": "object", "properties": {**CHECKED, "refused": {"type": "string"}}},
            body=TEXT,
            taking="application/yaml",
        ),
    },
    "/api/v1/reload": {"post": operation("Read the configuration file again", ref("Config"), FORCE)},
}
