"""The HTTP endpoints of one model server.

A prediction runs `fault → body → model → answer`. A small body is scored on the event loop, together with
others (`batching`), because one row costs less than a switch to a thread; a large body is scored in a thread.
"""

from __future__ import annotations

import asyncio
import os
from importlib.metadata import version as installed_version

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from crossfade_backends.batching import Batcher, BatchLimits
from crossfade_backends.data import FloatArray
from crossfade_backends.faults import Ending, FaultDraw, Faults, FaultSwitch
from crossfade_backends.inference import describe_model, describe_server, read_tensors
from crossfade_backends.lines import NDJSON, stream_lines
from crossfade_backends.metrics import ServerMetrics
from crossfade_backends.openapi import document
from crossfade_backends.page_files import PageFiles
from crossfade_backends.replies import json_reply, refuse
from crossfade_backends.rows import parse_body
from crossfade_backends.scoring import Distortion, Read, ServedModel, answer_alone, read_batch, read_row

# About a hundred rows.
_MAX_INLINE_BYTES = 16 * 1024
# EX_SOFTWARE, as after a crash: not 0, so that supervisors restart the process.
DEAD_EXIT_CODE = 70
_ANSWER_TIME = 0.1  # seconds for the answer to the PUT before the process exits
_RETRY_SOON = {"Retry-After": "1"}
DOCS = PageFiles("docs.html", "docs.js", "pages.css")


class ModelServer:
    """`model` is None until it is loaded; `failure` is the error if it cannot be loaded."""

    def __init__(
        self, name: str, version: str, faults: FaultSwitch, metrics: ServerMetrics, limits: BatchLimits
    ) -> None:
        self.name = name
        self.version = version
        self.faults = faults
        self.metrics = metrics
        self.model: ServedModel | None = None
        self.failure: str | None = None
        self.batcher = Batcher(limits, self.score, metrics.observe_batch)

    def routes(self) -> list[web.RouteDef]:
        model, one_version = "/v2/models/{model}", "/v2/models/{model}/versions/{version}"
        return [
            web.post("/predict", self.predict),
            web.post("/batch", self.batch),
            web.get("/health", self.health),
            web.get("/live", self.live),
            web.get("/metrics", self.show_metrics),
            web.get("/openapi.json", self.show_document),
            web.get("/docs", DOCS.show),
            web.get("/docs/{file}", DOCS.show),
            web.get("/faults", self.show_faults),
            web.put("/faults", self.put_faults),
            web.delete("/faults", self.delete_faults),
            web.get("/v2", self.server_metadata),
            web.get("/v2/health/live", self.live),
            web.get("/v2/health/ready", self.server_ready),
            *(web.get(path, self.model_metadata) for path in (model, one_version)),
            *(web.get(f"{path}/ready", self.model_ready) for path in (model, one_version)),
            *(web.post(f"{path}/infer", self.infer) for path in (model, one_version)),
        ]

    # Predictions

    async def predict(self, request: web.Request) -> web.StreamResponse:
        return await self.predict_with_faults(request, read_row)

    async def batch(self, request: web.Request) -> web.StreamResponse:
        if request.content_type == NDJSON:
            return await self.predict_lines(request)
        return await self.predict_with_faults(request, read_batch)

    async def infer(self, request: web.Request) -> web.StreamResponse:
        self.check_model(request)
        return await self.predict_with_faults(request, read_tensors)

    async def predict_with_faults(self, request: web.Request, read: Read) -> web.StreamResponse:
        drawn = self.faults.draw()
        body = await request.read()
        await self.suffer(drawn)
        answer = await self.answer(read, body, drawn)
        return await _send_half(request, answer) if drawn.ending is Ending.CUT else answer

    async def predict_lines(self, request: web.Request) -> web.StreamResponse:
        """One draw of faults is for all lines."""
        drawn = self.faults.draw()
        await self.suffer(drawn)
        return await stream_lines(
            request, self.loaded_model(), self.measured(drawn), cut=drawn.ending is Ending.CUT
        )

    async def suffer(self, drawn: FaultDraw) -> None:
        """The faults that come before an answer."""
        if drawn.delay:
            await asyncio.sleep(drawn.delay)
        if drawn.ending is Ending.HANG:
            # The wait ends when the fault is removed; it is cancelled when the client disconnects.
            await self.faults.released.wait()
        if drawn.ending is Ending.ERROR:
            raise refuse(self.faults.faults.error_status, "a fault was injected")

    def measured(self, drawn: FaultDraw) -> Distortion:
        """The fault of scores, and the metrics of what is answered."""
        return lambda scores: self.metrics.observe_scores(drawn.distort(scores))

    async def answer(self, read: Read, body: bytes, drawn: FaultDraw) -> web.Response:
        model, distort = self.loaded_model(), self.measured(drawn)
        if len(body) > _MAX_INLINE_BYTES:
            return json_reply(await asyncio.to_thread(answer_alone, read, body, model, distort))
        question = read(body, model.metadata)
        # A fault changes the scores of one request, so it comes after the batch.
        return json_reply(question.answer(distort(await self.batcher.score(question.matrix))))

    def score(self, matrix: FloatArray) -> FloatArray:
        return self.loaded_model().score(matrix)

    def loaded_model(self) -> ServedModel:
        if self.model is None:
            raise refuse(503, f"{self.name} {self.version} is not loaded", _RETRY_SOON)
        return self.model

    # Health and metrics

    def state(self) -> str:
        if self.failure is not None:
            return "failed"
        if self.model is None:
            return "loading"
        return "unhealthy" if self.faults.faults.unhealthy else "ok"

    async def health(self, request: web.Request) -> web.Response:
        state = self.state()
        content = {"status": state, "model": self.name, "version": self.version}
        if self.failure is not None:
            content["error"] = self.failure
        return json_reply(content, 200 if state == "ok" else 503)

    async def live(self, request: web.Request) -> web.Response:
        return json_reply({"live": True})

    async def show_metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=self.metrics.render(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def show_document(self, request: web.Request) -> web.Response:
        return json_reply(document(self.name, self.version, installed_version("crossfade")))

    # Faults

    async def show_faults(self, request: web.Request) -> web.Response:
        return json_reply(self.faults.faults.model_dump())

    async def put_faults(self, request: web.Request) -> web.Response:
        faults = parse_body(Faults, await request.read())
        if faults.drop_dead and faults.answer_first:
            asyncio.get_running_loop().call_later(_ANSWER_TIME, os._exit, DEAD_EXIT_CODE)
        elif faults.drop_dead:
            os._exit(DEAD_EXIT_CODE)
        self.faults.replace(faults)
        return await self.show_faults(request)

    async def delete_faults(self, request: web.Request) -> web.Response:
        self.faults.replace(Faults())
        return await self.show_faults(request)

    # Open Inference Protocol

    async def server_metadata(self, request: web.Request) -> web.Response:
        return json_reply(describe_server(installed_version("crossfade")))

    async def server_ready(self, request: web.Request) -> web.Response:
        ready = self.state() == "ok"
        # The text of the protocol calls this field "live" too; servers and clients use "ready".
        return json_reply({"ready": ready}, 200 if ready else 503)

    async def model_ready(self, request: web.Request) -> web.Response:
        self.check_model(request)
        ready = self.state() == "ok"
        return json_reply({"name": self.name, "ready": ready}, 200 if ready else 503)

    async def model_metadata(self, request: web.Request) -> web.Response:
        self.check_model(request)
        return json_reply(describe_model(self.loaded_model()))

    def check_model(self, request: web.Request) -> None:
        path = request.match_info
        if path["model"] != self.name:
            raise refuse(404, f"no model {path['model']!r} here, only {self.name!r}")
        if path.get("version", self.version) != self.version:
            raise refuse(404, f"no version {path['version']!r} of {self.name!r} here, only {self.version!r}")


async def _send_half(request: web.Request, answer: web.Response) -> web.StreamResponse:
    """Sends a Content-Length for the whole body and half of the body, then closes the connection."""
    body = answer.body
    assert isinstance(body, bytes)
    truncated = web.StreamResponse(status=answer.status, headers={"Content-Type": answer.content_type})
    truncated.content_length = len(body)
    await truncated.prepare(request)
    await truncated.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()
    return truncated
