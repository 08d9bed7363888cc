"""Each endpoint over a real socket."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from crossfade_backends.data import as_request, draw_sample
from crossfade_backends.registry import RegistryError
from crossfade_backends.rows import MAX_ROWS
from crossfade_backends.scoring import ServedModel, load_served_model
from crossfade_backends.server import MAX_BODY
from tests.backends.serving import ROW, TENSOR, fetch, serving, until_healthy


@pytest.mark.parametrize("version", ["v2", "v3", "v4"])
async def test_predict_answers_with_the_score_of_the_model(registry, version):
    model = load_served_model(registry, "churn", version)
    sample = draw_sample(1, 12)
    async with serving(registry, version) as client:
        status, answer = await fetch(client, "POST", "/predict", json=as_request(sample, 0))
    assert status == 200
    assert set(answer) == {
        "customer_id",
        "churn_probability",
        "risk_level",
        "model_version",
        "prediction_timestamp",
    }
    assert answer["churn_probability"] == model.score(sample.features)[0]
    assert (answer["customer_id"], answer["model_version"]) == ("C000000", version)


@pytest.mark.parametrize("rows", [1, 50, 500], ids=["one", "inline", "in a thread"])
async def test_batch_answers_every_row_in_order(registry, client, rows):
    sample = draw_sample(rows, 12)
    expected = load_served_model(registry, "churn", "v3").score(sample.features)
    body = {"rows": [as_request(sample, index) for index in range(rows)]}
    status, answer = await fetch(client, "POST", "/batch", json=body)
    assert (status, answer["model_version"]) == (200, "v3")
    assert [each["churn_probability"] for each in answer["predictions"]] == expected.tolist()
    assert [each["customer_id"] for each in answer["predictions"]] == [
        each["customer_id"] for each in body["rows"]
    ]


async def test_the_422_names_all_wrong_fields(client):
    row = ROW | {"total_amount_30d": -1, "support_tickets_90d": "2", "customer_id": ""}
    status, answer = await fetch(client, "POST", "/predict", json=row)
    assert status == 422
    assert [problem["loc"] for problem in answer["detail"]] == [
        ["body", "customer_id"],
        ["body", "total_amount_30d"],
        ["body", "support_tickets_90d"],
    ]
    assert all(problem["msg"] and problem["type"] for problem in answer["detail"])


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/predict", b"{", 400),
        ("POST", "/predict", b"", 400),
        ("POST", "/predict", b"[" * 100_000, 400),
        ("POST", "/batch", b"{}", 422),
        ("POST", "/batch", b'{"rows":[' + b"{}," * MAX_ROWS + b"{}]}", 413),
        ("GET", "/predict", None, 405),
        ("GET", "/nowhere", None, 404),
        ("GET", "/v2things", None, 404),
        ("PUT", "/faults", b'{"hang": 2}', 422),
        ("PUT", "/faults", b"hang", 400),
    ],
)
async def test_errors_are_json(client, method, path, body, status):
    got, answer = await fetch(client, method, path, data=body)
    assert got == status
    assert all(problem["msg"] for problem in answer["detail"])


async def test_a_too_large_body_gets_a_413(client):
    async def spaces() -> AsyncIterator[bytes]:
        for _ in range(MAX_BODY // 2**16 + 1):
            yield b" " * 2**16

    status, answer = await fetch(client, "POST", "/predict", data=spaces())
    assert status == 413
    assert "POST /predict" in answer["detail"][0]["msg"]


async def test_a_405_has_an_allow_header(client):
    async with client.get("/predict") as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "POST")


async def test_health_is_503_until_the_model_is_loaded(registry):
    may_load = threading.Event()

    def load_later(*arguments):
        assert may_load.wait(60)
        return load_served_model(*arguments)

    try:
        async with serving(registry, load=load_later, wait=False) as client:
            loading = {"status": "loading", "model": "churn", "version": "v3"}
            assert await fetch(client, "GET", "/health") == (503, loading)
            assert await fetch(client, "GET", "/live") == (200, {"live": True})
            assert await fetch(client, "GET", "/v2/health/ready") == (503, {"ready": False})
            status, answer = await fetch(client, "GET", "/v2/models/churn/ready")
            assert (status, answer) == (503, {"name": "churn", "ready": False})
            async with client.post("/predict", json=ROW) as refused:
                assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
            assert (await fetch(client, "GET", "/v2/models/churn"))[0] == 503
            async with client.get("/metrics") as metrics:
                assert "model_server_batch_rows_count 0.0" in await metrics.text()
            may_load.set()
            await until_healthy(client)
            assert (await fetch(client, "GET", "/health"))[1] == loading | {"status": "ok"}
            assert (await fetch(client, "POST", "/predict", json=ROW))[0] == 200
    finally:
        may_load.set()


async def test_a_model_that_cannot_be_loaded_is_never_healthy(registry):
    with pytest.raises(RegistryError, match="v7"):
        async with serving(registry, "v7"):
            pytest.fail("the model was loaded")
    async with serving(registry, "v7", wait=False) as client:
        while (answer := await fetch(client, "GET", "/health"))[1]["status"] == "loading":
            await asyncio.sleep(0.01)
        assert answer[0] == 503
        assert answer[1]["status"] == "failed"
        assert str(Path("churn/v7/metadata.json")) in answer[1]["error"]


async def test_an_unexpected_exception_gets_a_500_without_details(registry, caplog):
    class Broken:
        def fit(self, features, labels): ...

        def predict_proba(self, features):
            raise RuntimeError("secret")

    def load_broken(*where):
        return ServedModel(load_served_model(*where).metadata, Broken())

    async with serving(registry, load=load_broken) as client:
        status, answer = await fetch(client, "POST", "/predict", json=ROW)
    assert status == 500
    assert "secret" not in str(answer)
    assert "secret" in caplog.text


async def test_metrics_count_requests_by_route_and_status(client):
    await fetch(client, "POST", "/predict", json=ROW)
    await fetch(client, "POST", "/predict", json=ROW)
    await fetch(client, "POST", "/predict", json={})
    await fetch(client, "POST", "/v2/models/churn/infer", json={"inputs": [TENSOR]})
    await fetch(client, "GET", "/secret/path")
    async with client.get("/metrics") as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        text = await answer.text()
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }

    def requests(path: str, code: str) -> float:
        return samples["model_server_requests_total", ("code", code), ("path", path)]

    assert requests("/predict", "200") == 2
    assert requests("/predict", "422") == 1
    assert requests("/v2/models/{model}/infer", "200") == 1
    assert requests("unmatched", "404") == 1
    assert "secret" not in text
    labels = (("model", "churn"), ("version", "v3"))
    assert samples["model_server_prediction_duration_seconds_count", *labels] == 4
    assert samples["model_server_prediction_duration_seconds_sum", *labels] > 0


async def test_two_servers_in_one_process_have_separate_metrics(registry):
    async with serving(registry) as first, serving(registry, "v2") as second:
        await fetch(first, "POST", "/predict", json=ROW)
        async with second.get("/metrics") as answer:
            assert 'path="/predict"' not in await answer.text()


async def test_the_open_inference_protocol_is_served(client):
    status, server = await fetch(client, "GET", "/v2")
    assert status == 200
    assert set(server) == {"name", "version", "extensions"}
    assert await fetch(client, "GET", "/v2/health/live") == (200, {"live": True})
    assert await fetch(client, "GET", "/v2/health/ready") == (200, {"ready": True})
    for path in ("/v2/models/churn", "/v2/models/churn/versions/v3"):
        status, model = await fetch(client, "GET", path)
        assert (status, model["name"], model["versions"]) == (200, "churn", ["v3"])
        assert await fetch(client, "GET", f"{path}/ready") == (200, {"name": "churn", "ready": True})
        body = {"id": "7", "inputs": [TENSOR]}
        status, answer = await fetch(client, "POST", f"{path}/infer", json=body)
        assert (status, answer["id"], answer["model_version"]) == (200, "7", "v3")
        _, same = await fetch(client, "POST", "/predict", json=ROW)
        assert answer["outputs"][0]["data"] == [same["churn_probability"]]


@pytest.mark.parametrize("path", ["/v2/models/other", "/v2/models/churn/versions/v2"])
async def test_unknown_models_and_versions_get_a_404(client, path):
    for method, end in (("GET", ""), ("GET", "/ready"), ("POST", "/infer")):
        status, answer = await fetch(client, method, path + end, json={"inputs": [TENSOR]})
        assert status == 404
        assert "here, only" in answer["error"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/v2/models/churn/infer", b"{", 400),
        ("POST", "/v2/models/churn/infer", b"[" * 100_000, 400),
        ("POST", "/v2/models/churn/infer", b'{"inputs": []}', 400),
        ("GET", "/v2/models/churn/infer", None, 405),
        ("GET", "/v2/nowhere", None, 404),
    ],
)
async def test_errors_below_v2_have_the_form_of_the_protocol(client, method, path, body, status):
    got, answer = await fetch(client, method, path, data=body)
    assert got == status
    assert list(answer) == ["error"]


async def test_metrics_have_the_scores_that_were_answered_and_the_model(client, versions):
    sample = draw_sample(500, 12)
    rows = [as_request(sample, index) for index in range(500)]
    answered = (await fetch(client, "POST", "/batch", json={"rows": rows}))[1]["predictions"]
    await fetch(client, "POST", "/predict", json=rows[0])
    await fetch(client, "PUT", "/faults", json={"wrong_scores": True, "score_shift": 1})
    await fetch(client, "POST", "/v2/models/churn/infer", json={"inputs": [TENSOR]})
    await fetch(client, "POST", "/predict", json={})
    levels = Counter(each["risk_level"] for each in (answered[0], *answered)) + Counter({"high": 1})
    async with client.get("/metrics") as answer:
        families = {each.name: each.samples for each in text_string_to_metric_families(await answer.text())}
    predictions = families["model_server_predictions"]
    assert {
        each.labels["risk_level"]: each.value for each in predictions if each.name.endswith("_total")
    } == levels
    scores = {(each.name, each.labels.get("le")): each.value for each in families["model_server_score"]}
    assert scores["model_server_score_count", None] == 502
    below = sum(each["churn_probability"] <= 0.5 for each in (answered[0], *answered))
    assert scores["model_server_score_bucket", "0.5"] == below
    [info] = families["model_server_model_info"]
    assert (info.value, info.labels["model_sha256"]) == (1, versions["v3"].model_sha256)
    assert info.labels["framework"].startswith("scikit-learn ")
