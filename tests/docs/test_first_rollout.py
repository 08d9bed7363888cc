"""The tutorial, run as a reader would run it, block by block in one shell; on free ports, and with short holds."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadtests.ports import free_port
from tests.docs.blocks import ROOT, Block, blocks_of

TUTORIAL = list(blocks_of((ROOT / "docs/first-rollout.md").read_text("utf-8"), "docs/first-rollout.md"))
PORTS = ("8080", "9901", "8002", "8003", "8004")
LONGEST = 200.0  # seconds


def _script(blocks: list[Block]) -> str:
    """Each block says before it which it is, so that the output can be told apart."""
    lines = ["set -eu", "trap 'kill $(jobs -p) 2>/dev/null' EXIT"]
    for block in blocks:
        if block.says == "not run":
            continue
        lines.append(f"echo '== {block.line}'")
        if block.says == "file":
            lines.append(f"cat > {block.what} <<'END OF FILE'\n{block.text}END OF FILE")
        elif block.language == "sh":
            lines.append(block.text)
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("tutorial")
    script = _script(TUTORIAL).replace("hold: 15s", "hold: 2s")
    for port in PORTS:
        script = re.sub(rf"\b{port}\b", str(free_port()), script)
    admin = re.search(r"http://127.0.0.1:(\d+)/readyz", script)
    assert admin
    log = folder / "output"
    env = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "CROSSFADE_ADMIN_URL": f"http://127.0.0.1:{admin[1]}",
    }
    with log.open("wb") as out:
        shell = subprocess.Popen(
            ["bash", "-c", script], cwd=folder, env=env, stdout=out, stderr=out, start_new_session=True
        )
        try:
            code = shell.wait(LONGEST)
        finally:
            end_all_of(shell.pid)
            shell.wait()
    text = log.read_text("utf-8", "replace")
    logs = "".join(f"\n== {file.name}\n{file.read_text('utf-8')}" for file in folder.rglob("*.log"))
    assert code in (0, -signal.SIGTERM), text + logs
    yield text


def end_all_of(session: int) -> None:
    """Ends what a failed run has left."""
    try:
        os.killpg(session, signal.SIGKILL)
    except ProcessLookupError:
        return


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not here")
@pytest.mark.timeout(LONGEST + 60)
def test_the_tutorial_runs_to_its_end_and_says_what_the_page_says(output: str):
    assert f"== {TUTORIAL[-1].line}" in output, output
    for block in TUTORIAL:
        if block.language == "text":
            for line in block.text.splitlines():
                assert line in output, output
    assert not re.search(r"^Traceback|Field required", output, re.MULTILINE), output
