"""Files that an operator names: regular ones up to a limit, opened once; no read waits or is without end."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest

from crossfade import dial, files
from crossfade.config.load import load
from crossfade.config.problem import ConfigError
from crossfade.files import CONFIG_LIMIT, config_text, held_open, read_config, read_regular
from crossfade.workers.messages import Certificate
from crossfade.workers.tls import context_of
from tests.certificates import Authority


@pytest.fixture(params=["fifo", "folder", "socket", "zero", "terminal", "link to a fifo"])
def irregular(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    path = tmp_path / "named"
    if request.param == "zero":
        return "/dev/zero"
    if request.param == "terminal":
        return "/dev/ptmx"
    if request.param == "fifo":
        os.mkfifo(path)
    elif request.param == "folder":
        path.mkdir()
    elif request.param == "socket":
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(path))
    else:
        os.mkfifo(tmp_path / "fifo")
        path.symlink_to(tmp_path / "fifo")
    return str(path)


def test_what_is_not_a_regular_file_is_refused(irregular: str) -> None:
    with pytest.raises(
        OSError, match=r"not a regular file|No such device or address"
    ):  # the latter: a socket
        read_regular(irregular, 100)


def test_a_configuration_that_is_not_a_regular_file_is_a_problem(irregular: str) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_config(irregular)


@pytest.mark.parametrize("key", ["ca", "cert", "key"])
def test_a_check_opens_no_file_that_could_keep_it(irregular: str, key: str, tmp_path: Path) -> None:
    good = Authority(tmp_path)
    given = {"ca": good.file, "cert": good.file, "key": good.file} | {key: irregular}
    tls = ", ".join(f"{name}: {path}" for name, path in given.items())
    text = f"""
listen: ":8080"
backends: {{a: {{endpoints: ["https://127.0.0.1:1"], tls: {{{tls}}}}}}}
routes: [{{name: x, split: {{a: 1}}}}]
"""
    with pytest.raises(ConfigError) as caught:
        load(text, "f.yaml", {}, dial.examine)
    assert [p.path for p in caught.value.problems] == [f"backends.a.tls.{key}"]
    assert caught.value.problems[0].message.startswith("cannot be read: ")


def test_a_listener_uses_no_irregular_file(irregular: str, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="cannot use"):
        context_of(Certificate(irregular, irregular, None, False))


def test_a_file_has_at_most_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100)
    assert read_regular(str(path), 100) == b"x" * 100
    with pytest.raises(OSError, match="larger than") as caught:
        read_regular(str(path), 99)
    assert caught.value.errno == errno.EFBIG


def test_a_file_that_says_no_size_has_a_limit_too() -> None:
    """As those of /proc do."""
    assert os.stat("/proc/self/status").st_size == 0
    with pytest.raises(OSError, match="larger than"):
        read_regular("/proc/self/status", 10)


def test_a_path_with_a_nul_names_no_file() -> None:
    with pytest.raises(FileNotFoundError):
        read_regular("a\0b", 10)


def test_what_is_read_is_what_was_opened(tmp_path: Path) -> None:
    """Between a look and a read the path may come to name something else."""
    path = tmp_path / "file"
    path.write_bytes(b"first")
    with held_open(str(path), 100) as name:
        path.unlink()
        os.mkfifo(path)
        assert Path(name).read_bytes() == b"first"


def test_no_descriptor_is_left(irregular: str, tmp_path: Path) -> None:
    before = len(os.listdir("/dev/fd"))
    for path in (irregular, str(tmp_path / "missing")):
        with pytest.raises(OSError, match=r"."):
            read_regular(path, 10)
    assert len(os.listdir("/dev/fd")) == before


def test_a_configuration_above_ten_megabytes_is_one_problem(tmp_path: Path) -> None:
    path = tmp_path / "routing.yaml"
    path.write_bytes(b"#" * (CONFIG_LIMIT + 1))
    with pytest.raises(ConfigError) as caught:
        read_config(str(path))
    assert str(caught.value) == f"{path}:1:1: cannot be read: larger than 10 MiB"
    with pytest.raises(ConfigError, match="larger than 10 MiB"):
        config_text(b"#" * (CONFIG_LIMIT + 1), "<stdin>")


def test_a_text_that_is_not_utf_8_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "routing.yaml"
    path.write_bytes(b"listen: 1\n# \xff\n")
    with pytest.raises(ConfigError, match=r":2:1: must be UTF-8"):
        read_config(str(path))


def test_lines_end_as_in_a_file_opened_as_text(tmp_path: Path) -> None:
    path = tmp_path / "routing.yaml"
    path.write_bytes(b"a: 1\r\nb: 2\rc: 3\n")
    assert read_config(str(path)) == path.read_text("utf-8")


def test_the_limit_of_a_certificate_holds_a_systems_authorities() -> None:
    assert files.PEM_LIMIT >= 1024 * 1024
