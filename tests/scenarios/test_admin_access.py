"""The admin API with TLS and tokens, and at a unix socket: commands, a renewal, edits of tokens, reports, takeovers, remains."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
import stat
import sys
from pathlib import Path
from typing import NamedTuple

from tests.certificates import Authority
from tests.scenarios.conftest import routing
from tests.scenarios.harness import Model, Process, Proxy, running, wait_until

ALICE, VERA = "alice-has-a-long-token", "vera-has-a-long-token"
OPERATOR = f"{{name: alice, role: operator, token: {ALICE}}}"
VIEWER = f"{{name: vera, role: viewer, token: {VERA}}}"
SPLIT = "    split: {v2: 100%}\n"


class Result(NamedTuple):
    code: int
    said: str


def install(folder: Path, cert: str, key: str) -> None:
    """Replaces `served.key` and `served.pem` atomically."""
    for kind, source in (("key", key), ("pem", cert)):
        (folder / "new").write_bytes(Path(source).read_bytes())
        (folder / "new").replace(folder / f"served.{kind}")


def shows(port: int, cert: str) -> bool:
    return ssl.get_server_certificate(("127.0.0.1", port)) == Path(cert).read_text()


class Guarded(Proxy):
    """`admin`: the keys of the section `admin` in the file."""

    def __init__(self, folder: Path, config: str, admin: str, url: str) -> None:
        self.admin = admin
        self.admin_url = url
        self.trusting: tuple[str, ...] = ()
        super().__init__(folder, config, workers=1)

    def write(self, config: str) -> None:
        super().write(config)
        text = self.file.read_text()
        self.file.write_text(text.replace(f"listen: 127.0.0.1:{self.admin_port}", self.admin))

    async def is_ready(self) -> bool:
        assert self.child.returncode is None, self.output
        return (await self.run("status", "--token", VERA)).code == 0

    async def run(self, *words: str) -> Result:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "crossfade", *words, "--admin", self.admin_url, *self.trusting,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        said, _ = await child.communicate()
        return Result(child.returncode or 0, said.decode())


async def test_with_tls_and_tokens(tmp_path: Path, models: dict[str, Model]) -> None:
    """The certificate names localhost alone, and reports are made over another name of this machine."""
    authority = Authority(tmp_path)
    install(tmp_path, *authority.files("localhost"))
    tls = f"tls: {{cert: {tmp_path}/served.pem, key: {tmp_path}/served.key}}"
    proxy = Guarded(tmp_path, "", "", "")
    proxy.trusting = ("--cacert", authority.file)
    proxy.admin_url = f"https://localhost:{proxy.admin_port}"
    proxy.admin = f"listen: 0.0.0.0:{proxy.admin_port}, {tls}, tokens: [{OPERATOR}, {VIEWER}]"
    config = routing(models, f"{SPLIT}    report: {{every: 1s, dir: {tmp_path}/reports}}\n")
    proxy.write(config)
    async with running(proxy):
        assert f"admin on https://0.0.0.0:{proxy.admin_port}" in proxy.output

        refused = await proxy.run("split", "churn", "v2=1", "v3=1", "--token", VERA)
        assert refused.code == 1 and "vera has the role viewer; this needs the role operator" in refused.said
        assert (await proxy.run("status")).code == 1
        assert (await proxy.run("split", "churn", "v2=1", "v3=1", "--token", ALICE)).code == 0
        why = json.loads((await proxy.run("why", "churn", "--json", "--token", VERA)).said)
        assert why["decision"]["actor"].partition(" ")[0] == "alice"

        await wait_until(lambda: list((tmp_path / "reports").glob("churn-*.html")), "a report")

        second = authority.files("localhost")
        install(tmp_path, *second)

        async def renewed() -> bool:
            return await asyncio.to_thread(shows, proxy.admin_port, second[0])

        await wait_until(renewed, "the second certificate")

        proxy.admin = proxy.admin.replace(OPERATOR, OPERATOR.replace("operator", "viewer"))
        proxy.write(config)

        async def demoted() -> bool:
            return (await proxy.run("split", "churn", "v2=1", "v3=0", "--token", ALICE)).code == 1

        await wait_until(demoted, "the new role acts without a restart")
        assert ALICE not in proxy.output and VERA not in proxy.output


async def test_at_a_unix_socket(tmp_path: Path, models: dict[str, Model]) -> None:
    path = tmp_path / "admin.sock"
    proxy = Guarded(tmp_path, routing(models, SPLIT), f"listen: 'unix:{path}'", f"unix:{path}")
    async with running(proxy):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o660
        assert (await proxy.run("split", "churn", "v2=1", "v3=1")).code == 0

        inode = os.stat(path).st_ino
        assert await proxy.take_over() == 0
        assert os.stat(path).st_ino == inode
        assert (await proxy.run("split", "churn", "v2=1", "v3=0")).code == 0

        await proxy.stop(signal.SIGKILL)
        assert path.exists()
        proxy.module = ("crossfade", "run", str(proxy.file))
        await proxy.start()
        assert os.stat(path).st_ino != inode

        other = second(tmp_path, path, models)
        await Process.start(other)
        assert await asyncio.wait_for(other.child.wait(), 60) == 1
        assert f"cannot listen on unix:{path}: Address already in use" in other.output
        other.log.close()
        assert (await proxy.run("status")).code == 0

        await proxy.stop()
        assert not path.exists()


def second(folder: Path, path: Path, models: dict[str, Model]) -> Guarded:
    """A proxy with another state that would have the same file."""
    (folder / "second").mkdir()
    return Guarded(folder / "second", routing(models, SPLIT), f"listen: 'unix:{path}'", f"unix:{path}")
