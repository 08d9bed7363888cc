"""The admin API with TLS and tokens, and at a unix socket: commands, a renewal, edits of tokens, reports, takeovers, remains."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import stat
import sys
from pathlib import Path
from typing import Any

import aiohttp

from tests.certificates import Authority
from tests.scenarios.conftest import routing
from tests.scenarios.harness import TIMEOUT, Model, Process, Proxy, running, wait_until

ALICE, VERA = "alice-has-a-long-token", "vera-has-a-long-token"
OPERATOR = f"{{name: alice, role: operator, token: {ALICE}}}"
VIEWER = f"{{name: vera, role: viewer, token: {VERA}}}"
SPLIT = "    split: {v2: 100%}\n"


class Guarded(Proxy):
    """`admin`: the keys of the section `admin` in the file. `url`: of the admin API."""

    admin = ""
    url_of_admin = ""
    socket: Path | None = None
    trusting: ssl.SSLContext | bool = True

    def write(self, config: str) -> None:
        super().write(config)
        text = self.file.read_text()
        self.file.write_text(text.replace(f"listen: 127.0.0.1:{self.admin_port}", self.admin))

    async def call(self, method: str, path: str, body: Any = None, token: str = VERA) -> tuple[int, Any]:
        connector = (
            aiohttp.UnixConnector(str(self.socket))
            if self.socket
            else aiohttp.TCPConnector(ssl=self.trusting)
        )
        headers = {"Authorization": f"Bearer {token}"}
        sent: dict[str, Any] = {"data": body} if isinstance(body, str) else {"json": body}
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.request(method, f"{self.url_of_admin}{path}", headers=headers, **sent) as response,
        ):
            is_json = response.content_type.endswith("json")
            return response.status, await (response.json(content_type=None) if is_json else response.text())

    async def run(self, *words: str) -> tuple[int, str]:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "crossfade", *words,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        said, _ = await child.communicate()
        return child.returncode or 0, said.decode()


def install(folder: Path, cert: str, key: str) -> None:
    """Replaces `served.key` and `served.pem` atomically."""
    for kind, source in (("key", key), ("pem", cert)):
        (folder / "new").write_bytes(Path(source).read_bytes())
        (folder / "new").replace(folder / f"served.{kind}")


def shows(port: int, cert: str) -> bool:
    return ssl.get_server_certificate(("127.0.0.1", port)) == Path(cert).read_text()


async def test_with_tls_and_tokens(tmp_path: Path, models: dict[str, Model]) -> None:
    """The certificate names localhost alone, and reports are made over another name of this machine."""
    authority = Authority(tmp_path)
    install(tmp_path, *authority.files("localhost"))
    tls = f"tls: {{cert: {tmp_path}/served.pem, key: {tmp_path}/served.key}}"
    config = routing(models, f"{SPLIT}    report: {{every: 1s, dir: {tmp_path}/reports}}\n")
    proxy = Guarded(tmp_path, config, workers=1)
    proxy.trusting = ssl.create_default_context(cafile=authority.file)
    proxy.url_of_admin = f"https://localhost:{proxy.admin_port}"
    proxy.admin = f"listen: 0.0.0.0:{proxy.admin_port}, {tls}, tokens: [{OPERATOR}, {VIEWER}]"
    proxy.write(config)
    split = "/api/v1/routes/churn/split"
    async with running(proxy):
        assert f"admin on https://0.0.0.0:{proxy.admin_port}" in proxy.output

        admin = ("--admin", proxy.url_of_admin, "--cacert", authority.file)
        code, said = await proxy.run("split", "churn", "v2=1", "v3=1", *admin, "--token", VERA)
        assert code == 1 and "vera has the role viewer; this needs the role operator" in said
        assert (await proxy.run("split", "churn", "v2=1", "v3=1", *admin, "--token", ALICE))[0] == 0
        decisions = (await proxy.get("/api/v1/decisions"))["decisions"]
        assert decisions[-1]["actor"].partition(" ")[0] == "alice"
        assert (await proxy.call("GET", "/api/v1/status", token="nobody's"))[0] == 401

        await no_access_by_applying(proxy)
        await wait_until(lambda: list((tmp_path / "reports").glob("churn-*.html")), "a report")

        second = authority.files("localhost")
        install(tmp_path, *second)

        async def renewed() -> bool:
            return await asyncio.to_thread(shows, proxy.admin_port, second[0])

        await wait_until(renewed, "the second certificate")

        proxy.admin = proxy.admin.replace(OPERATOR, OPERATOR.replace("operator", "viewer"))
        proxy.write(config)

        async def demoted() -> bool:
            return (await proxy.call("PUT", split, {"v2": 1, "v3": 0}, token=ALICE))[0] == 403

        await wait_until(demoted, "the new role acts without a restart")
        assert ALICE not in proxy.output and VERA not in proxy.output


async def no_access_by_applying(proxy: Guarded) -> None:
    """Tokens are the file's."""
    text = proxy.file.read_text().replace(VIEWER, VIEWER.replace("viewer", "operator"))
    status, answer = await proxy.call("POST", "/api/v1/config?apply=true", text, token=ALICE)
    assert (status, answer["differs"]) == (200, True)
    assert (await proxy.get("/api/v1/session"))["role"] == "viewer"
    assert (await proxy.call("POST", "/api/v1/reload"))[0] == 403
    assert (await proxy.call("POST", "/api/v1/reload", token=ALICE))[0] == 200


async def test_at_a_unix_socket(tmp_path: Path, models: dict[str, Model]) -> None:
    proxy = at_socket(tmp_path, tmp_path / "admin.sock", models)
    path = proxy.socket
    assert path is not None
    async with running(proxy):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o660
        assert (await proxy.run("split", "churn", "v2=1", "v3=1", "--admin", f"unix:{path}"))[0] == 0

        inode = os.stat(path).st_ino
        assert await proxy.take_over() == 0
        assert os.stat(path).st_ino == inode

        await proxy.stop(signal.SIGKILL)
        assert path.exists()
        proxy.module = ("crossfade", "run", str(proxy.file))
        await proxy.start()  # it answers there

        (tmp_path / "second").mkdir()
        other = at_socket(tmp_path / "second", path, models)
        await Process.start(other)
        assert await asyncio.wait_for(other.child.wait(), TIMEOUT) == 1
        assert f"cannot listen on unix:{path}: Address already in use" in other.output
        other.log.close()
        assert (await proxy.split()) == {"v2": 0.5, "v3": 0.5}

        await proxy.stop()
        assert not path.exists()


def at_socket(folder: Path, path: Path, models: dict[str, Model]) -> Guarded:
    config = routing(models, SPLIT)
    proxy = Guarded(folder, config, workers=1)
    proxy.socket, proxy.url_of_admin, proxy.admin = path, "http://localhost", f"listen: 'unix:{path}'"
    proxy.write(config)
    return proxy
