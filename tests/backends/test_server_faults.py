"""The effect of each fault on a client, over a real socket."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import ClientPayloadError, ClientSession, ClientTimeout

from crossfade_backends.faults import Faults
from tests.backends.serving import ROW, TENSOR, fetch, serving

PREDICTIONS = [
    ("/predict", ROW),
    ("/batch", {"rows": [ROW, ROW]}),
    ("/v2/models/churn/infer", {"inputs": [TENSOR]}),
    ("/v2/models/churn/versions/v3/infer", {"inputs": [TENSOR]}),
]


async def put(client: ClientSession, **faults: object) -> None:
    status, answer = await fetch(client, "PUT", "/faults", json=faults)
    assert status == 200, answer


async def test_put_faults_replaces_all_faults(client):
    off = Faults().model_dump()
    assert await fetch(client, "GET", "/faults") == (200, off)
    latency = {"distribution": "constant", "mean_ms": 1.0}
    _, first = await fetch(client, "PUT", "/faults", json={"error_share": 0.5, "latency": latency})
    assert first == off | {"error_share": 0.5, "latency": latency}
    _, second = await fetch(client, "PUT", "/faults", json={"unhealthy": True})
    assert second == off | {"unhealthy": True}
    assert await fetch(client, "PUT", "/faults", json=second) == (200, second)
    assert (await fetch(client, "PUT", "/faults", json={"hang": 7}))[0] == 422
    assert await fetch(client, "GET", "/faults") == (200, second), "invalid faults must replace nothing"
    assert await fetch(client, "DELETE", "/faults") == (200, off)


@pytest.mark.parametrize(("path", "body"), PREDICTIONS)
async def test_error_share_answers_with_the_error_status(client, path, body):
    await put(client, error_share=1, error_status=529)
    status, answer = await fetch(client, "POST", path, json=body)
    assert status == 529
    assert "a fault was injected" in str(answer)
    await fetch(client, "DELETE", "/faults")
    assert (await fetch(client, "POST", path, json=body))[0] == 200


async def test_faults_affect_only_predictions(client):
    await put(client, error_share=1)
    for path in ("/health", "/live", "/faults", "/v2", "/v2/health/ready", "/v2/models/churn"):
        assert (await fetch(client, "GET", path))[0] == 200, path
    async with client.get("/metrics") as answer:
        assert answer.status == 200


async def test_the_same_seed_gives_the_same_errors(registry):
    statuses = []
    for seed in (1, 1, 2):
        async with serving(registry, seed=seed) as client:
            await put(client, error_share=0.5)
            statuses.append([(await fetch(client, "POST", "/predict", json=ROW))[0] for _ in range(40)])
    assert statuses[0] == statuses[1] != statuses[2]
    assert set(statuses[0]) == {200, 500}


async def test_latency_delays_the_answer(client):
    loop = asyncio.get_running_loop()
    await put(client, latency={"distribution": "constant", "mean_ms": 120})
    started = loop.time()
    assert (await fetch(client, "POST", "/predict", json=ROW))[0] == 200
    assert loop.time() - started >= 0.12


@pytest.mark.parametrize(("shift", "distort"), [(None, lambda p: 1 - p), (0.25, lambda p: min(p + 0.25, 1))])
async def test_wrong_scores_change_every_kind_of_prediction(client, shift, distort):
    _, right = await fetch(client, "POST", "/predict", json=ROW)
    await put(client, wrong_scores=True, score_shift=shift)
    expected = pytest.approx(distort(right["churn_probability"]))
    _, row = await fetch(client, "POST", "/predict", json=ROW)
    assert row["churn_probability"] == expected
    _, batch = await fetch(client, "POST", "/batch", json={"rows": [ROW]})
    assert batch["predictions"][0]["churn_probability"] == expected
    _, tensor = await fetch(client, "POST", "/v2/models/churn/infer", json={"inputs": [TENSOR]})
    assert tensor["outputs"][0]["data"] == [expected]


@pytest.mark.parametrize(("path", "body"), PREDICTIONS)
async def test_cut_truncates_the_body(client, path, body):
    await put(client, cut=1)
    async with client.post(path, json=body) as answer:
        assert answer.status == 200
        announced = answer.content_length
        assert announced
        received = b""
        with pytest.raises(ClientPayloadError):
            async for chunk in answer.content.iter_any():
                received += chunk
    assert received == b"" or received.startswith(b"{")
    assert len(received) < announced


async def test_cut_sends_a_whole_head_and_half_a_body(client):
    await put(client, cut=1)
    reader, writer = await send_predict(client)
    raw = await reader.read()  # to the end of the connection
    writer.close()
    await writer.wait_closed()
    head, _, body = raw.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    [announced] = [int(line.split()[1]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length")]
    assert len(body) == announced // 2
    assert body.startswith(b'{"customer_id":"C1"')


async def send_predict(client: ClientSession) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    async with client.get("/live") as answer:
        reader, writer = await asyncio.open_connection(answer.url.host, answer.url.port)
    body = str(ROW).replace("'", '"').encode()
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()
    return reader, writer


async def test_a_hanging_prediction_is_answered_when_the_fault_is_removed(client):
    await put(client, hang=1)
    prediction = asyncio.create_task(fetch(client, "POST", "/predict", json=ROW))
    await asyncio.wait({prediction}, timeout=0.2)
    assert not prediction.done()
    await put(client, hang=0.5)  # the fault stays on, so the prediction goes on waiting
    await asyncio.wait({prediction}, timeout=0.1)
    assert not prediction.done()
    assert (await fetch(client, "GET", "/health"))[0] == 200
    await fetch(client, "DELETE", "/faults")
    status, answer = await prediction
    assert (status, answer["customer_id"]) == (200, "C1")


async def test_a_hanging_prediction_ends_when_its_client_disconnects(client):
    await put(client, hang=1)
    with pytest.raises(TimeoutError):
        await fetch(client, "POST", "/predict", json=ROW, timeout=ClientTimeout(total=0.1))
    _, writer = await send_predict(client)
    writer.close()
    await writer.wait_closed()
    while True:
        async with client.get("/metrics") as answer:
            if 'model_server_requests_total{code="499",path="/predict"} 2.0' in await answer.text():
                return
        await asyncio.sleep(0.01)


async def test_shutdown_answers_hanging_predictions(registry):
    async with serving(registry) as client:
        await put(client, hang=1)
        reader, writer = await send_predict(client)
        await fetch(client, "GET", "/health")
    assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
    writer.close()
    await writer.wait_closed()


async def test_an_unhealthy_server_still_predicts(client):
    await put(client, unhealthy=True)
    status, answer = await fetch(client, "GET", "/health")
    assert (status, answer["status"]) == (503, "unhealthy")
    assert (await fetch(client, "GET", "/v2/health/ready"))[0] == 503
    assert (await fetch(client, "GET", "/live"))[0] == 200
    assert (await fetch(client, "POST", "/predict", json=ROW))[0] == 200
