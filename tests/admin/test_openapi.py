"""The document has the paths of the router, and the schemas of the responses."""

from __future__ import annotations

import re
from typing import Any

import pytest

from crossfade.admin.operations import OPERATIONS
from crossfade.control.views import Verb
from tests.admin.site import Site


async def test_document_lists_exactly_what_is_served(site: Site) -> None:
    served = {
        (route.method.lower(), route.resource.canonical)
        for route in site.server.app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    document = await site.get("/openapi.json")
    described = {(method, path) for path, item in document["paths"].items() for method in item}
    assert described == served


async def test_path_parameters_are_those_in_the_path(site: Site) -> None:
    document = await site.get("/openapi.json")
    for path, item in document["paths"].items():
        for described in item.values():
            named = {p["name"] for p in described.get("parameters", []) if p["in"] == "path"}
            assert named == set(re.findall(r"{(\w+)}", path)), path


async def test_every_reference_has_a_schema(site: Site) -> None:
    document = await site.get("/openapi.json")
    for ref in references(document):
        kind, section, name = ref.removeprefix("#/").split("/")
        assert name in document[kind][section]


async def test_every_verb_is_served(site: Site) -> None:
    document = await site.get("/openapi.json")
    parameters = document["paths"]["/api/v1/rollouts/{route}/{verb}"]["post"]["parameters"]
    assert parameters[1]["schema"]["enum"] == [str(verb) for verb in Verb]


async def test_responses_have_the_fields_of_the_schema(site: Site) -> None:
    schemas = (await site.get("/openapi.json"))["components"]["schemas"]
    for path, name in (
        ("/api/v1/routes/churn", "RouteView"),
        ("/api/v1/backends/v2", "BackendView"),
        ("/api/v1/rollouts/churn", "RolloutView"),
        ("/api/v1/rollouts/churn/why", "WhyView"),
        ("/api/v1/status", "StatusView"),
        ("/api/v1/config", "ConfigInUse"),
    ):
        assert set(await site.get(path)) == set(schemas[name]["properties"]), path
    (decision, *_) = (await site.get("/api/v1/decisions"))["decisions"]
    assert set(decision) == set(schemas["Decision"]["properties"]) - {"forced"}  # left out where nothing was


def test_each_operation_has_a_name_and_a_handler_of_its_own() -> None:
    assert len({operation.name for operation in OPERATIONS}) == len(OPERATIONS)
    assert len({operation.handler for operation in OPERATIONS}) == len(OPERATIONS)


async def test_an_unknown_parameter_is_refused_wherever_there_is_a_query(site: Site) -> None:
    for operation in OPERATIONS:
        if operation.query is not None:
            path = re.sub(r"{verb:(\w+)[^}]*}", r"\1", operation.path).replace("{route}", "churn")
            path = (
                path.replace("{backend}", "v2").replace("{endpoint}", "127.0.0.1:9002").replace("{id}", "1")
            )
            problem = await site.ask(operation.method, path + "?chalange=v3", 422)
            assert "chalange is no parameter" in problem["detail"], operation.name


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        found = [value["$ref"]] if "$ref" in value else []
        return found + [ref for child in value.values() for ref in references(child)]
    return [ref for child in value for ref in references(child)] if isinstance(value, list) else []


async def test_feedback_is_accepted_as_json_and_as_lines(site: Site) -> None:
    document = await site.get("/openapi.json")
    feedback = document["paths"]["/api/v1/feedback"]["post"]
    assert set(feedback["requestBody"]["content"]) == {"application/json", "application/x-ndjson"}
    assert {"202", "422", "503"} <= set(feedback["responses"])


@pytest.mark.parametrize(
    ("method", "path", "media", "status"),
    [
        ("POST", "/api/v1/rollouts/churn/pause", "application/x-www-form-urlencoded", 415),
        ("POST", "/api/v1/rollouts/churn/pause", "text/plain", 415),
        ("POST", "/api/v1/rollouts/churn/pause", "application/json; charset=utf-8", 200),
        ("POST", "/api/v1/rollouts/churn/pause", "application/octet-stream", 200),
        ("POST", "/api/v1/config", "application/json", 415),
        ("POST", "/api/v1/feedback", "application/yaml", 415),
        ("POST", "/api/v1/feedback", "application/jsonl", 422),
    ],
)
async def test_a_body_of_another_type_is_refused(
    site: Site, method: str, path: str, media: str, status: int
) -> None:
    async with site.session.request(
        method, site.url + path, data=b"{}", headers={"Content-Type": media}
    ) as response:
        assert response.status == status
        if status == 415:
            assert "Send " in (await response.json(content_type=None))["detail"]
