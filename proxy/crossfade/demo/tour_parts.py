"""The parts of the tour. Each prints the commands of a user, and gives what was checked."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import json
import os
import signal
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from crossfade.demo.processes import free_port
from crossfade.demo.screen import INDENT, Row
from crossfade.demo.topic import PACKAGES, broker, score_topic
from crossfade.demo.tour import Part, Tour
from crossfade.demo.traffic import features_of

ROUTE = """\
    split: {churn-v2: 100%}
    cache: {ttl: 60s}
"""
ROLLOUT = (
    "{steps: [{weight: 10%, hold: 2s}, {weight: 50%, hold: 2s}], min_requests: 25, "
    "checks: [{metric: error_rate, max: 1%}]}"
)
ROWS = 2000
COMPARED = 50  # of them, that the API is asked for
MESSAGES = 400
CLIENTS = 40  # that load the replicas
AT_ONCE = 200  # requests at one time, to be scored together
TIMEOUT = 90.0
SCORE = "churn_probability"
BACKENDS = "crossfade_backends"


def _customers(n: int) -> list[dict[str, Any]]:
    return [dict(features_of(customer)) for customer in range(n)]


def _write(tour: Tour, rows: Sequence[Mapping[str, Any]]) -> None:
    with (tour.processes.folder / "customers.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _read(tour: Tour, name: str) -> list[dict[str, str]]:
    with (tour.processes.folder / name).open() as file:
        return list(csv.DictReader(file))


async def _unequal(tour: Tour, scores: Mapping[str, float]) -> int:
    """How many of the first customers have another score in the API."""
    answers = [await tour.predict(row) for row in _customers(COMPARED)]
    return sum(scores.get(answer["customer_id"]) != answer[SCORE] for answer, _ in answers)


async def score_a_file(tour: Tour) -> list[Row]:
    rows = _customers(ROWS)
    _write(tour, [*rows, rows[0] | {"customer_id": "bad", "support_tickets_90d": -1}])
    out = await tour.must(f"{BACKENDS}.batch", "--model", "churn@v2", "customers.csv", "scores.csv")
    summary = json.loads(out[out.index("{") :])
    counts = (summary["rows"], summary["bad"])
    scores = {row["customer_id"]: float(row[SCORE]) for row in _read(tour, "scores.csv")}
    unequal = await _unequal(tour, scores)
    return [
        ("rows scored, rows refused", f"{counts[0]}, {counts[1]}", counts == (ROWS, 1)),
        ("scores other than the API's", f"{unequal} of {COMPARED}", unequal == 0),
    ]


async def score_a_topic(tour: Tour) -> list[Row]:
    rows = _customers(MESSAGES)
    with broker() as address:
        scores = await score_topic(tour, address, rows)
        await tour.processes.end_last()
    unequal = await _unequal(tour, scores)
    absent = len(rows) - len(scores)
    return [
        ("messages without a result", f"{absent} of {len(rows)}", absent == 0),
        ("scores other than the API's", f"{unequal} of {COMPARED}", unequal == 0),
    ]


async def make_smaller(tour: Tour) -> list[Row]:
    code, _ = await tour.run(f"{BACKENDS}.edge", "quantize", "churn@v2")
    await tour.must(f"{BACKENDS}.edge", "bench", "churn@v2", "churn@v2-int8", "--calls", "200")
    return [("INT8 decides as before", "99 % or more" if code == 0 else "less than 99 %", code == 0)]


async def deploy(tour: Tour) -> list[Row]:
    """Two replicas, by a canary, under the traffic of the customers; then what an operator does to them."""
    words = ("--replicas", "2", "--strategy", "canary", "--rollout", ROLLOUT)
    await tour.must(f"{BACKENDS}.models", "deploy", "churn@v3", *words)
    phase = await _phase_of(tour, "churn-v3")
    (killed, *_) = await _replicas(tour)
    os.kill(killed, signal.SIGKILL)
    tour.console.print(f"{INDENT}kill -9 of a replica, process {killed}", style="red")
    await tour.must(f"{BACKENDS}.models", "scale", "churn@v3", "--replicas", "3")
    replicas = await _replicas(tour)
    await tour.must(f"{BACKENDS}.models", "scale", "churn@v3", "--replicas", "1")
    code, _ = await tour.run(f"{BACKENDS}.models", "undeploy", "churn@v3")
    tally = tour.traffic.tally
    return [
        ("churn-v3 after its canary", phase, phase == "promoted"),
        ("replicas after a kill and `scale`", str(len(replicas)), len(replicas) == 3 and killed not in replicas),
        ("undeploy under traffic", f"exit code {code}", code == 1),
        ("requests failed", f"{tally.failed} of {tally.sent}", tally.failed == 0 < tally.sent),
    ]  # fmt: skip


async def _phase_of(tour: Tour, challenger: str) -> str:
    """How the rollout ends."""
    async with asyncio.timeout(TIMEOUT):
        while True:
            for rollout in (await tour.processes.status())["rollouts"]:
                if rollout["challenger"] == challenger and rollout["phase"] in ("promoted", "aborted"):
                    return str(rollout["phase"])
            await asyncio.sleep(0.2)


async def _replicas(tour: Tour) -> list[int]:
    """The processes of churn@v3 that are healthy."""
    _, out = await tour.run(f"{BACKENDS}.models", "info", "--json", told=0)
    return [replica["pid"] for each in json.loads(out) for replica in each["replicas"]]


async def know_the_versions(tour: Tour) -> list[Row]:
    out = await tour.must(f"{BACKENDS}.models", "list")
    named = [version for version in ("v2", "v3", "v4") if version in out.split()]
    return [("versions in the registry", ", ".join(named), len(named) == 3)]


async def follow_the_load(tour: Tour) -> list[Row]:
    """From one replica to two, and back. The requests ask for no answer of the cache."""
    words = ("--least", "1", "--most", "2", "--in-flight", "4")
    quick = ("--up-after", "1", "--down-after", "1", "--cool-down", "1")
    await tour.must(f"{BACKENDS}.models", "scale", "churn@v3", *words, *quick)
    statuses: Counter[int] = Counter()
    asking = True

    async def ask() -> None:
        while asking:
            headers = {"Cache-Control": "no-store"}
            url, row = f"{tour.processes.url}/predict", dict(features_of(1))
            async with tour.processes.session.post(url, json=row, headers=headers) as response:
                await response.read()
                statuses[response.status] += 1

    async with asyncio.TaskGroup() as tasks:
        for _ in range(CLIENTS):
            tasks.create_task(ask())
        most = await _replicas_are(tour, 2)
        asking = False
    least = await _replicas_are(tour, 1)
    failed = statuses.total() - statuses[200]
    return [
        ("replicas under load, and after it", f"{most}, {least}", (most, least) == (2, 1)),
        ("requests failed", f"{failed} of {statuses.total()}", failed == 0 < statuses.total()),
    ]


async def _replicas_are(tour: Tour, wanted: int) -> int:
    """How many serve by the proxy's word, once they are as many as wanted; or after the time for it."""
    found = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(TIMEOUT):
            while found != wanted:
                await asyncio.sleep(0.2)
                backend = await tour.processes.get("/api/v1/backends/churn-v3")
                found = len(backend["endpoints"])
    return found


async def answer_again(tour: Tour) -> list[Row]:
    """Each of the two workers has a cache of its own: of three requests one is a hit at least."""
    row = dict(features_of(0)) | {"customer_id": "visitor"}
    asked = [await tour.predict(row) for _ in range(3)]
    await tour.must(
        "crossfade", "split", "churn", "churn-v2=1", "churn-v3=1", "--admin", tour.processes.admin
    )
    asked.append(await tour.predict(row))
    first, *again, after = [fields["x-crossfade-cache"] for _, fields in asked]
    found = f"{first}; {', '.join(again)}; {after}"
    return [
        ("asked, again, after a new split", found, first == "miss" and "hit" in again and after == "miss")
    ]


async def score_through_the_proxy(tour: Tour) -> list[Row]:
    _write(tour, _customers(ROWS))
    url = f"{tour.processes.url}/predict"
    await tour.must(f"{BACKENDS}.batch", "--via", url, "customers.csv", "via.csv")
    versions = Counter(row["model_version"] for row in _read(tour, "via.csv"))
    said = ", ".join(f"{name} {n}" for name, n in sorted(versions.items()))
    fair = all(0.4 * ROWS < versions[name] < 0.6 * ROWS for name in ("v2", "v3"))
    return [("rows by version, at a split of 50 : 50", said, fair and versions.total() == ROWS)]


async def score_together(tour: Tour) -> list[Row]:
    url = tour.processes.models["v2"]

    async def ask(row: Mapping[str, Any]) -> int:
        async with tour.processes.session.post(f"{url}/predict", json=row) as response:
            await response.read()
            return response.status

    before = await _batches(tour, url)
    statuses = await asyncio.gather(*(ask(row) for row in _customers(AT_ONCE)))
    calls = await _batches(tour, url) - before
    async with tour.processes.session.get(f"{url}/openapi.json") as response:
        version = (await response.json())["openapi"]
    tour.console.print(f"{INDENT}{url}/docs  a page on which each operation can be tried", markup=False)
    answered = statuses.count(200)
    return [
        (f"calls of the model for {AT_ONCE} requests at once", f"{calls:.0f}", answered == AT_ONCE > calls > 0),
        ("the server's API", f"OpenAPI {version}", version.startswith("3.1")),
    ]  # fmt: skip


async def _batches(tour: Tour, url: str) -> float:
    async with tour.processes.session.get(f"{url}/metrics") as response:
        lines = (await response.text()).splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("model_server_batch_rows_count"))


async def try_it(tour: Tour) -> list[Row]:
    port = free_port()
    words = ("--proxy", tour.processes.url, "--admin", tour.processes.admin, "--port", str(port))
    await tour.begin(f"{BACKENDS}.front", *words)
    await tour.processes.wait_for(f"http://127.0.0.1:{port}/live", "the front end")
    row = dict(features_of(1))
    async with tour.processes.session.post(f"http://127.0.0.1:{port}/ask", json=row) as response:
        found = await response.json()
    tour.console.print(f"{INDENT}http://127.0.0.1:{port}/  a page for visitors", markup=False)
    for line in found["why"]["because"]:
        tour.console.print(f"{INDENT}{line}", markup=False, style="dim", soft_wrap=True)
    answer, fields = await tour.predict(row)
    same = (found["backend"], found["answer"][SCORE]) == (fields["x-crossfade-backend"], answer[SCORE])
    return [("the page and the API answer", f"{found['backend']}, {found['answer'][SCORE]:.3f}", same)]


async def advise(tour: Tour) -> list[Row]:
    answers = "latency=50,age=0,rows=100000,used=5,cost=0.05"
    out = await tour.must(f"{BACKENDS}.advise", "--answers", answers)
    title = out.splitlines()[0].strip("# ")
    return [("for an answer within 50 ms", title, title == "Advice: real time")]


PARTS: Sequence[tuple[str, Part, Sequence[str]]] = (
    ("Batch: a file of customers is scored", score_a_file, ()),
    ("Stream: a topic of Kafka is scored", score_a_topic, PACKAGES),
    ("Edge: an INT8 version for devices", make_smaller, ("onnx", "onnxruntime", "skl2onnx")),
    ("Registry: which versions there are", know_the_versions, ()),
    ("Deploy: replicas of churn@v3, by a canary", deploy, ()),
    ("Autoscaling: as many replicas as the load needs", follow_the_load, ()),
    ("Cache: the same request again", answer_again, ()),
    ("Batch through the proxy: the split holds", score_through_the_proxy, ()),
    ("Model server: requests scored together", score_together, ()),
    ("Front end: which version answers, and why", try_it, ()),
    ("Advice: batch, stream or real time", advise, ()),
)


async def take_down(tour: Tour) -> None:
    """Replicas outlive the command that started them."""
    if (tour.processes.registry / ".deployments").exists():
        await tour.run(f"{BACKENDS}.models", "undeploy", "churn@v3", "--force")
