"""`crossfade fmt`: files, standard input, --check and --diff."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from tests.cli.conftest import Shell

UGLY, PRETTY = "a:   1\nb:\n- 2 # two\n", "a: 1\nb:\n  - 2  # two\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "routing.yaml"
    path.write_text(UGLY)
    path.chmod(0o640)
    return path


def text_of(file: Path) -> str:
    return file.read_text()


def write(file: Path, text: str) -> None:
    file.write_text(text)


def mode_of(file: Path) -> int:
    return file.stat().st_mode & 0o777


async def test_a_file_is_laid_out_in_place_with_its_mode(shell: Shell, file: Path) -> None:
    assert (await shell.run("fmt", str(file))).code == 0
    assert (text_of(file), mode_of(file)) == (PRETTY, 0o640)
    assert [path.name for path in file.parent.iterdir()] == ["routing.yaml"]


async def test_a_link_stays_one(shell: Shell, file: Path) -> None:
    link = file.with_name("link.yaml")
    link.symlink_to(file)
    assert (await shell.run("fmt", str(link))).code == 0
    assert (link.is_symlink(), text_of(file)) == (True, PRETTY)


async def test_check_and_diff_write_nothing(shell: Shell, file: Path) -> None:
    checked = await shell.run("fmt", "--check", str(file))
    assert (checked.code, "would be changed" in checked.err) == (1, True)
    shown = await shell.run("fmt", "--diff", str(file))
    assert (shown.code, "-a:   1" in shown.out, "+  - 2  # two" in shown.out) == (1, True, True)
    assert (await shell.run("fmt", "--check", "--json", str(file))).json == {"changed": [str(file)]}
    assert text_of(file) == UGLY
    write(file, PRETTY)
    assert (await shell.run("fmt", "--check", str(file))).code == 0


async def test_standard_input_goes_to_standard_output(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(UGLY.encode())))
    assert (await shell.run("fmt", "-")).out == PRETTY


async def test_what_is_no_yaml_stays_as_it_is(shell: Shell, file: Path) -> None:
    write(file, "a: [1\n")
    result = await shell.run("fmt", str(file))
    assert (result.code, f"{file}:2:1: " in result.err, text_of(file)) == (1, True, "a: [1\n")
