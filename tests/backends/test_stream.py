"""`python -m crossfade_backends.stream` beside a real broker: what is scored, and that nothing is lost."""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from crossfade.demo.topic import broker
from crossfade_backends.stages import named_version
from crossfade_backends.stream import main, parse
from crossfade_backends.stream_scoring import Message, by_model
from loadtests.ports import free_port
from tests.backends.kafka import read, relay, send, streaming
from tests.backends.serving import fetch, serving
from tests.backends.test_batch import customers


@pytest.fixture
def address() -> Iterator[str]:
    with broker() as found:
        yield found


def as_messages(rows: list[dict[str, Any]]) -> list[tuple[bytes | None, bytes | None]]:
    return [(f"{row['customer_id']}".encode(), json.dumps(row).encode()) for row in rows]


async def test_results_have_the_scores_of_the_server_and_the_keys_of_the_customers(address, registry):
    rows = customers(40)
    refused = json.dumps(rows[0] | {"support_tickets_90d": -1}).encode()
    await send(address, "in", [*as_messages(rows), (b"k1", b"{"), (b"k2", None), (None, refused)])
    async with streaming(address, registry, "--model", "churn@v3") as process:
        found = {result.value["customer_id"]: result for result in await read(address, "out", len(rows))}
        dead = {result.key: result for result in await read(address, "in.dead", 3)}
        await process.has('model_stream_rows_total{outcome="dead"}', 3)
        assert process.metric('model_stream_rows_total{outcome="scored"}') == len(rows)
        assert process.metric("model_stream_lag") == 0
        assert process.metric("model_stream_portion_seconds_count") >= 1
    async with serving(registry, "v3") as client:
        for row in rows:
            result = found[row["customer_id"]]
            _, answer = await fetch(client, "POST", "/predict", json=row)
            assert result.key == row["customer_id"].encode()
            assert result.value.keys() == answer.keys()
            same = answer.keys() - {"prediction_timestamp"}
            assert {name: result.value[name] for name in same} == {name: answer[name] for name in same}
            assert result.headers["crossfade-source"].startswith("in/")
    assert dead[b"k1"].value == b"{"
    assert dead[b"k1"].headers["crossfade-reason"].startswith("not JSON: ")
    assert (dead[b"k2"].value, dead[b"k2"].headers["crossfade-reason"]) == (None, "not a JSON object")
    assert dead[None].value["support_tickets_90d"] == -1
    assert "greater than or equal to 0" in dead[None].headers["crossfade-reason"]


async def test_a_process_that_is_killed_loses_no_row(address, registry):
    rows = customers(4000)
    await send(address, "in", as_messages(rows))
    options = ("--model", "churn@v2", "--portion", "50")
    for seen in (50, 500):
        async with streaming(address, registry, *options) as process:
            await process.has('model_stream_rows_total{outcome="scored"}', seen)
            process.child.send_signal(signal.SIGKILL)
            await process.child.wait()
    async with streaming(address, registry, *options):
        found = await read(address, "out", len(rows))
    sources = Counter(result.headers["crossfade-source"] for result in found)
    assert len(sources) == len({r.value["customer_id"] for r in found}) == len(rows)
    assert sum(sources.values()) - len(rows) <= 2 * 50, "only what was under way is scored again"


async def test_term_ends_behind_the_portion_and_the_next_process_goes_on_from_there(address, registry):
    rows = customers(3000)
    await send(address, "in", as_messages(rows))
    options = ("--model", "churn@v2", "--portion", "50")
    async with streaming(address, registry, *options) as process:
        await process.has('model_stream_rows_total{outcome="scored"}', 100)
        process.child.send_signal(signal.SIGTERM)
        await process.said("drained")
        assert await process.child.wait() == 0
    async with streaming(address, registry, *options):
        found = await read(address, "out", len(rows))
    assert Counter(result.value["customer_id"] for result in found) == {r["customer_id"]: 1 for r in rows}


async def test_a_second_process_takes_some_of_the_partitions_and_no_row_is_lost(address, registry):
    rows = customers(6000)
    await send(address, "in", as_messages(rows[:3000]))
    options = ("--model", "churn@v2", "--portion", "20")
    async with streaming(address, registry, *options) as first:
        await first.has('model_stream_rows_total{outcome="scored"}', 40)
        async with streaming(address, registry, *options) as second:
            await first.joined_by(second)
            await send(address, "in", as_messages(rows[3000:]))
            await second.has('model_stream_rows_total{outcome="scored"}', 20)
            found = await read(address, "out", len(rows))
            assert len({result.value["customer_id"] for result in found}) == len(rows)
            second.child.send_signal(signal.SIGTERM)
            assert await second.child.wait() == 0
        more = [row | {"customer_id": f"again-{i}"} for i, row in enumerate(rows[:200])]
        await send(address, "in", as_messages(more))
        found = await read(address, "out", len(found) + len(more))
        assert {row["customer_id"] for row in more} <= {result.value["customer_id"] for result in found}


async def test_a_broker_that_is_not_there_yet_is_waited_for(address, registry):
    port = free_port()
    async with streaming(f"127.0.0.1:{port}", registry, "--model", "churn@v2") as process:
        await process.said("interrupted, again in 1 s")
        await send(address, "in", as_messages(customers(5)))
        async with relay(port, address):
            assert len(await read(address, "out", 5)) == 5


async def test_rows_go_through_a_proxy_that_is_busy_at_first(address, registry):
    asked: Counter[str] = Counter()

    async def predict(request: web.Request) -> web.Response:
        customer = (await request.json())["customer_id"]
        asked[customer] += 1
        if asked[customer] == 1:
            return web.Response(status=429, headers={"Retry-After": "0"})
        if customer == "C000003":
            return web.Response(status=422, text="no such plan")
        return web.json_response({"churn_probability": 0.5}, headers={"x-crossfade-backend": "churn-v3"})

    app = web.Application()
    app.router.add_post("/predict", predict)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        await send(address, "in", as_messages(customers(10)))
        via = f"http://127.0.0.1:{runner.addresses[0][1]}/predict"
        async with streaming(address, registry, "--via", via):
            found = await read(address, "out", 9)
            [dead] = await read(address, "in.dead", 1)
    finally:
        await runner.cleanup()
    assert {(r.value["model_version"], r.value["risk_level"]) for r in found} == {("churn-v3", "medium")}
    assert (dead.key, dead.headers["crossfade-reason"]) == (b"C000003", "HTTP 422: no such plan")


async def test_headers_are_kept_and_outcomes_are_in_the_order_of_the_messages(registry: Path):
    scorer = by_model(registry, named_version(registry, "churn@v2"))
    rows = as_messages(customers(3))
    values = [rows[0][1], b"", rows[1][1], b"[]", None, rows[2][1], b"\xff"]
    given = [Message(b"%d" % n, value, f"in/0/{n}", (("trace", b"t"),)) for n, value in enumerate(values)]
    outcomes = await scorer.score(given)
    assert [outcome.key for outcome in outcomes] == [message.key for message in given]
    assert [outcome.is_dead for outcome in outcomes] == [False, True, False, True, True, False, True]
    for message, outcome in zip(given, outcomes, strict=True):
        assert outcome.headers[:2] == (("trace", b"t"), ("crossfade-source", message.source.encode()))
        assert not outcome.is_dead or outcome.value == message.value


@pytest.mark.parametrize(
    ("more", "error"),
    [
        (("--model", "churn@v9"), "nothing is 'v9'"),
        (("--metrics", "9102"), "--metrics must be HOST:PORT, not 9102"),
        (("--metrics", "127.0.0.1:99999"), ""),
    ],
)
def test_a_wrong_option_ends_it_with_a_sentence(registry, capsys, more, error):
    given = ["--brokers", "b:1", "--from", "in", "--to", "out", "--registry", str(registry)]
    try:
        code = main([*given, "--metrics", f"127.0.0.1:{free_port()}", *more])
    except OverflowError:
        pytest.fail("a port that cannot be is an error of ours")
    assert code == 1
    assert error in capsys.readouterr().err


def test_the_password_is_of_the_environment_and_tls_has_an_authority(monkeypatch):
    monkeypatch.setenv("CROSSFADE_KAFKA_PASSWORD", "secret")
    options = parse(["--brokers", "b:1", "--from", "in", "--to", "out", "--user", "u", "--tls"])
    made = options.connection()
    assert (made["security_protocol"], made["sasl_plain_username"]) == ("SASL_SSL", "u")
    assert (made["sasl_plain_password"], options.dead) == ("secret", "in.dead")
    assert made["ssl_context"].check_hostname
