"""Files that an operator names: the configuration, certificates, keys.

Rule: no read waits, and none is without end. A file is opened once and what was opened is looked at, not its path again:
a folder, a FIFO, a socket or a device (`/dev/zero`) is refused before a byte is read, and so is a file above its limit.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from crossfade.config.problem import ConfigError, Problem

CONFIG_LIMIT = 10 * 1024 * 1024  # bytes; the largest configuration seen, with 10 000 routes, has 3 million
PEM_LIMIT = 4 * 1024 * 1024  # bytes; the CA certificates of a system are about 0.2 million


def open_regular(path: str, limit: int) -> int:
    """A descriptor. Raises OSError, as all functions here but `read_config` do."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except ValueError:  # a NUL in the path
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        if found.st_size > limit:
            raise too_large(path, limit)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def too_large(path: str, limit: int) -> OSError:
    return OSError(errno.EFBIG, f"larger than {limit // 1024 // 1024} MiB", path)


def read_regular(path: str, limit: int) -> bytes:
    with open(open_regular(path, limit), "rb") as file:
        content = file.read(limit + 1)  # files of the kernel have more than their size, which is 0
    if len(content) > limit:
        raise too_large(path, limit)
    return content


@contextmanager
def held_open(path: str, limit: int) -> Iterator[str]:
    """A name of the opened file, for libraries that take a name only: whatever becomes of `path`, it is this file."""
    descriptor = open_regular(path, limit)
    try:
        yield f"/dev/fd/{descriptor}"
    finally:
        os.close(descriptor)


def read_config(path: str) -> str:
    """The text of a configuration file. Raises ConfigError."""
    try:
        content = read_regular(path, CONFIG_LIMIT)
    except OSError as error:
        said = f"cannot be read: {error.strerror}"
        raise ConfigError((Problem(path, 1, 1, "", said),)) from error
    return config_text(content, path)


def config_text(content: bytes, source: str) -> str:
    """Raises ConfigError for content that is too large or not UTF-8."""
    if len(content) > CONFIG_LIMIT:
        raise ConfigError(
            (Problem(source, 1, 1, "", f"cannot be read: {too_large(source, CONFIG_LIMIT).strerror}"),)
        )
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError((Problem(source, line, 1, "", f"must be UTF-8: {error.reason}"),)) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")  # as a file that Python opens as text
