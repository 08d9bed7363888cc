"""Each command in the pages is one that there is: `crossfade` takes its words, make has the target, the extra and the module exist.

The tutorial and the pages that say how to come from another proxy are run as well, by tests of their own.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import tomllib
from collections.abc import Callable
from itertools import pairwise

import pytest
import yaml

from crossfade.admin.operations import OPERATIONS
from crossfade.cli.arguments import build_parser
from tests.docs.blocks import PAGES, ROOT, Block, blocks
from tests.docs.shell import commands

SHELL = blocks("sh")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
# Not run, since they change the machine, need root, a cluster, a GPU or a registry of images, or are of every shell.
OF_THE_MACHINE = {
    *("cd", "mkdir", "cat", "echo", "cp", "mv", "rm", "sed", "grep", "sort", "uniq", "head", "tail", "wc", "tee", "seq"),
    *("export", "jobs", "source", ".", "wait", "sleep", "kill", "openssl", "jq", "git", "watch", "test", "[", "true", "exit"),
    *("apt-get", "install", "useradd", "systemctl", "systemd-analyze", "journalctl", "chown", "chmod", "ss", "ls"),
    *("docker", "kubectl", "helm", "nginx", "haproxy", "uvicorn", "mlflow", "mlserver", "bentoml", "vllm", "tritonserver"),
    *("for", "promtool", "amtool", "prometheus", "locust", "envoy", "aws", "printf"),
}  # fmt: skip


def _crossfade(words: list[str]) -> None:
    build_parser().parse_args(words)


def _make(words: list[str]) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert {word for word in words if "=" not in word} <= set(targets)


def _pip(words: list[str]) -> None:
    known = set(PROJECT["optional-dependencies"])
    for extras in re.findall(r"(?:crossfade|\.)\[([a-z,]+)\]", " ".join(words)):
        assert set(extras.split(",")) <= known


def _python(words: list[str]) -> None:
    if words[:1] == ["-m"]:
        assert words[1] in ("venv", "pip") or importlib.util.find_spec(words[1]), words[1]
        if words[1] == "pip":
            _pip(words[2:])


def _curl(words: list[str]) -> None:
    assert any(re.match(r"\$?\w*(https?://|URL|ADMIN|/)|\$\{?\w+|unix:|localhost", word) for word in words)


RUN: dict[str, Callable[[list[str]], None]] = {
    "crossfade": _crossfade,
    "make": _make,
    "pip": _pip,
    "python": _python,
    "python3": _python,
    "curl": _curl,
}


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_its_commands_exist(block: Block, capsys: pytest.CaptureFixture[str]):
    for words in commands(block.text):
        program, *rest = words
        name = program.rpartition("/")[2]
        if check := RUN.get(name):
            try:
                check(rest)
            except SystemExit as end:
                wrong = f"{block}: {' '.join(words)}: {capsys.readouterr().err}"
                assert end.code == 0, wrong
        else:
            assert name in OF_THE_MACHINE, f"{block}: {name} is in no list of what is checked"


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_a_shell_can_read_it(block: Block):
    read = subprocess.run(["bash", "-n"], input=block.text, text=True, capture_output=True, check=False)
    assert (read.returncode, read.stderr) == (0, "")


def _inline() -> list[tuple[str, str]]:
    """`crossfade …` between backticks, with its page."""
    found = list[tuple[str, str]]()
    for page in PAGES:
        text = re.sub(r"^ *```.*?^ *```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
        found += [(str(page.relative_to(ROOT)), said) for said in re.findall(r"`crossfade ([^`]+)`", text)]
    return found


def test_commands_named_in_sentences_exist():
    known = _helps()
    wrong = list[str]()
    for page, said in _inline():
        verbs = re.match(r"[a-z-]+(?:\\?\|[a-z-]+)*", said)
        if not verbs:
            continue
        for verb in re.split(r"\\?\|", verbs[0]):
            options = set(re.findall(r"(?<!\S)\[?(--[a-z-]+)", said))
            if verb not in known or not options <= known[verb]:
                wrong.append(f"{page}: crossfade {said}")
    assert wrong == []


def _helps() -> dict[str, set[str]]:
    """The options of each command."""
    (sub,) = (a for a in build_parser()._actions if hasattr(a, "choices") and isinstance(a.choices, dict))
    assert isinstance(sub.choices, dict)
    return {name: set(parser._option_string_actions) for name, parser in sub.choices.items()}


def test_services_of_compose_that_are_named_exist():
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]
    for block in SHELL:
        for words in commands(block.text):
            if words[:2] == ["docker", "compose"]:
                named = [w for w in words[3:] if not w.startswith("-")]
                assert set(named[:1]) <= {*services, "proxy"} or words[2] not in (
                    "run",
                    "exec",
                    "logs",
                    "up",
                ), words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A=1 crossfade run f.yaml &\n", [["crossfade", "run", "f.yaml"]]),
        ("a b | c > f 2>&1 && d", [["a", "b"], ["c"], ["d"]]),
        ("curl \\\n  -d '{\n}' # not this\n", [["curl", "-d", "{\n}"]]),
        ("x $(y 1)\n", [["y", "1"], ["x", "SUBSTITUTED"]]),
        ("cat > f <<'E'\nno command\nE\nls\n", [["cat"], ["ls"]]),
        ("for i in $(seq 3); do z; done", [["seq", "3"], ["for", "i", "in", "SUBSTITUTED"], ["z"]]),
    ],
)
def test_commands_are_found(text: str, expected: list[list[str]]):
    assert list(commands(text)) == expected


def _operation(path: str) -> re.Pattern[str]:
    """`{name}` is any segment, `{name:expression}` what the expression says."""
    return re.compile(re.sub(r"\{\w+(?::([^}]+))?\}", lambda found: f"(?:{found[1] or '[^/]+'})", path) + "$")


KNOWN = [(operation.method, _operation(operation.path)) for operation in OPERATIONS]


def _is_known(method: str, path: str) -> bool:
    """`{drain|undrain}` stands for each of the two."""
    if choice := re.search(r"\{(\w+(?:\|\w+)+)\}", path):
        return all(_is_known(method, path.replace(choice[0], word)) for word in choice[1].split("|"))
    bare = path.split("?")[0].replace("…", "x")
    return any(method == known and pattern.match(bare) for known, pattern in KNOWN)


def test_operations_of_the_admin_api_that_are_named_exist():
    wrong = list[str]()
    for page in PAGES:
        text = page.read_text("utf-8")
        for method, path in re.findall(
            r"`(GET|POST|PUT|DELETE) (/(?:api/v1|healthz|readyz|metrics)[^`\s]*)`", text
        ):
            if not _is_known(method, path):
                wrong.append(f"{page.relative_to(ROOT)}: {method} {path}")
    assert wrong == []


def _method_of(words: list[str]) -> str:
    """What curl sends."""
    for word, after in pairwise(words):
        if word in ("-X", "--request"):
            return after
    given = {word.split("=")[0] for word in words}
    return "POST" if given & {"-d", "--json", "--data", "--data-binary", "--data-raw"} else "GET"


def test_operations_of_the_admin_api_that_curl_asks_for_exist():
    asked = 0
    for block in SHELL:
        for words in commands(block.text):
            if words[0] != "curl":
                continue
            method = _method_of(words)
            for url in words[1:]:
                if found := re.match(r"(?:https?://[\w.-]+:9901|\$\{?\w*ADMIN\w*\}?)(/.*)", url):
                    asked += 1
                    assert _is_known(method, found[1]), f"{block}: {method} {found[1]}"
    assert asked >= 5
