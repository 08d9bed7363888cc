"""Requests whose paths are spelled unusually, over sockets: their route's limits hold, their bytes stay."""

from __future__ import annotations

import pytest

from crossfade.routing.snapshot import Match, Rate, Rewrite, Sticky
from tests.dataplane.plane import Harness, route
from tests.dataplane.test_rewriting import rewrite
from tests.dataplane.wire import get

SPELLINGS = [b"/%70redict", b"//predict", b"/./predict", b"/x/../predict", b"/x/%2e%2E/predict?q=%70//.."]
ONE = Rate(key=Sticky("client_ip", ""), per_second=0.001, burst=1)


def limited(harness: Harness) -> None:
    harness.backend("v2")
    harness.backend("rest")
    harness.use(route("v2", match=Match(path="/predict"), rate=ONE), route("rest", name="rest"))


@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_no_spelling_gets_past_the_limits_of_a_route(harness: Harness, spelling: bytes):
    limited(harness)
    client = await harness.client()
    await client.send(get("/predict"))
    assert (await client.answer()).status == 200
    await client.send(get(spelling.decode()))
    assert (await client.answer()).status == 429


@pytest.mark.parametrize("bytewise", [False, True])
@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_a_path_goes_on_with_the_bytes_that_came(harness: Harness, spelling: bytes, bytewise: bool):
    v2 = harness.backend("v2")
    harness.use(route("v2", match=Match(path="/predict")))
    client = await harness.client()
    raw = get(spelling.decode())
    for part in (raw[i : i + 1] for i in range(len(raw))) if bytewise else [raw]:
        await client.send(part)
    assert (await client.answer()).status == 200
    assert v2.requests[0].first == b"GET %b HTTP/1.1" % spelling


@pytest.mark.parametrize(
    ("target", "detail"),
    [
        ("/x/..%2Fpredict", b"several ways"),
        ("/../predict", b"above the root"),
        ("/predict%00", b"NUL"),
        ("/predict%", b"hexadecimal"),
    ],
)
async def test_a_doubtful_path_is_refused_and_counted(harness: Harness, target: str, detail: bytes):
    limited(harness)
    client = await harness.client()
    await client.send(get(target))
    answer = await client.answer()
    assert (answer.status, answer.error) == (400, b"downstream/parse")
    assert detail in answer.body
    assert await client.rest() == (b"", "closed")
    assert harness.plane.recorder.table.refused == {"400:parse": 1}


async def test_another_policy_acts_on_the_next_request(harness: Harness):
    limited(harness)
    client = await harness.client()
    harness.use(*harness.plane.snapshot.routes, encoded_slashes="keep", merge_slashes=False)
    for target in ("/x/..%2Fpredict", "//predict"):
        await client.send(get(target))
        assert (await client.answer()).backend == "rest"
    harness.use(*harness.plane.snapshot.routes)
    await client.send(get("//predict"))
    assert (await client.answer()).backend == "v2"
    await client.send(get("/x/..%2Fpredict"))
    assert (await client.answer()).status == 400


@pytest.mark.parametrize("spelling", [b"/%76%32/x%2Fy/.", b"//v2/x%2fy/", b"/./v2//x%2Fy/"])
async def test_a_prefix_is_replaced_in_the_path_that_was_matched(harness: Harness, spelling: bytes):
    v2 = harness.backend("v2")
    rewrite(harness, "v2", "/base", Rewrite(prefix="/infer"))
    harness.use(route("v2", match=Match(prefix="/v2")))
    client = await harness.client()
    await client.send(get(spelling.decode()))
    assert (await client.answer()).status == 200
    assert v2.requests[0].first.replace(b"//", b"/") == b"GET /base/infer/x%2Fy/ HTTP/1.1"


@pytest.mark.timeout(30)
async def test_one_path_does_not_stop_the_worker(harness: Harness):
    harness.backend("v2")
    harness.use(route("v2", match=Match(regex="/(a+)+b"), name="costly"), route("v2", name="rest"))
    client = await harness.client()
    for target in ("/" + "a" * 4000, "/aab", "/" + "%61" * 20 + "%62"):
        await client.send(get(target))
        assert (await client.answer()).status == 200
    assert (await harness.cell("v2", "costly")).requests == 2
    assert (await harness.cell("v2", "rest")).requests == 1


async def test_a_path_that_is_too_long_for_an_expression_gets_414(harness: Harness):
    harness.backend("v2")
    harness.use(route("v2", match=Match(path="/short")), route("v2", match=Match(regex="/a+"), name="regex"))
    client = await harness.client()
    await client.send(get("/" + "a" * 8191))
    assert (await client.answer()).status == 200
    await client.send(get("/" + "a" * 8192))
    answer = await client.answer()
    assert (answer.status, answer.error) == (414, b"downstream/limits")
