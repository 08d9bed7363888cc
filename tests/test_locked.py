"""Where packages come from: `make`, images and CI take the locked versions, `pip install crossfade` any from a bound on.

The newest release of a dependency once broke `make test` on a fresh machine. `make lock` renews requirements/.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FILES = sorted((ROOT / "requirements").glob("*.txt"))
PIN = re.compile(r"([a-z0-9-]+)==(\S+)( ; .*)? \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)")


def without_comments(file: Path) -> str:
    return re.sub(r"^#.*\n", "", file.read_text(), flags=re.MULTILINE)


def pins(file: Path) -> dict[str, set[str]]:
    """Package → its versions, which may differ from one Python to another; whatever else is there is refused."""
    text = without_comments(file)
    assert PIN.sub("", text) == ""
    versions: dict[str, set[str]] = {}
    for name, version, *_ in PIN.findall(text):
        versions.setdefault(name, set()).add(version)
    return versions


def wanted(file: Path) -> list[Requirement]:
    """What pyproject.toml says of the set that this file locks."""
    extras = PYPROJECT["project"]["optional-dependencies"]
    if file.stem == "build":
        return [Requirement(line) for line in PYPROJECT["build-system"]["requires"]]
    found = [Requirement(line) for line in PYPROJECT["project"]["dependencies"]]
    queue = [
        Requirement(f"crossfade[{file.stem.replace('run', 'regex,encodings')}]")
    ]  # images have each feature
    for requirement in queue:
        if requirement.name == "crossfade":
            queue += [Requirement(line) for extra in requirement.extras for line in extras[extra]]
        else:
            found.append(requirement)
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_requirement_is_locked_to_a_version_that_it_allows(file: Path) -> None:
    locked = pins(file)
    for requirement in wanted(file):
        assert requirement.name.lower() in locked, f"`make lock` has to add {requirement}"
        assert all(requirement.specifier.contains(version) for version in locked[requirement.name.lower()])


def test_all_sets_have_the_same_versions_of_a_package() -> None:
    assert {file.stem for file in FILES} == {
        "build",
        "run",
        "models",
        "edge",
        "tour",
        "test",
        "dev",
        "bench",
        "mutation",
    }
    locked: dict[str, set[str]] = {}
    for file in FILES:
        for name, versions in pins(file).items():
            assert locked.setdefault(name, versions) == versions, (file.name, name)


@pytest.mark.parametrize("name", ["Makefile", "deploy/proxy.Dockerfile", "deploy/backends.Dockerfile"])
def test_nothing_else_is_installed(name: str) -> None:
    """But for what locks, and what runs with the newest versions on purpose."""
    text = without_comments(ROOT / name).replace("\\\n", " ")
    commands = re.findall(r"(?:\bpip|\$\(INSTALL\)) +(?:install|wheel|--)[^&;\n]*", text)
    assert len(commands) >= 3
    for command in commands:
        exact = "--require-hashes" in command or {"--no-deps", "--no-build-isolation"} <= set(command.split())
        wheel = "--no-deps" in command and command.strip().endswith(".whl")
        on_purpose = command.strip().endswith((" uv", "'.[test]'", "--disable-pip-version-check"))
        assert exact or wheel or on_purpose, command


def test_what_pip_installs_from_an_index_has_lower_bounds_only() -> None:
    project = PYPROJECT["project"]
    lines = [
        *project["dependencies"],
        *(line for extra in project["optional-dependencies"].values() for line in extra),
    ]
    bounds = [Requirement(line) for line in lines if not line.startswith("crossfade[")]
    assert [str(bound) for bound in bounds if {each.operator for each in bound.specifier} != {">="}] == []
