"""When the certificates end that the configuration names.

Rule: files are read as they are on disk, which is what new connections use within seconds. Files that cannot be used are
refused by the renewal, which says so; of what cannot be read here there is no end.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from crossfade.certificate import ends_in
from crossfade.config.load import tls_sections
from crossfade.config.model import Config
from crossfade.files import PEM_LIMIT, read_regular


class CertificateEnd(NamedTuple):
    """`of`: listener, backend or admin; `name`: of the backend, else "". `at`: seconds since 1970."""

    of: str
    name: str
    file: str
    at: float


def certificate_ends(config: Config) -> list[CertificateEnd]:
    """One for each file. It blocks."""
    found = {(each.of, each.name, each.file): each for each in _ends(config)}
    return list(found.values())


def _ends(config: Config) -> Iterator[CertificateEnd]:
    for section in tls_sections(config):
        of = {"backends": "backend", "admin": "admin"}.get(str(section.place[0]), "listener")
        # A chain is valid until the first of it ends. Authorities serve until the last of them ends.
        for file, first_or_last in ((section.files.cert, min), (section.files.ca, max)):
            ends = _ends_in_file(file)
            if file is not None and ends:
                yield CertificateEnd(of, section.name, file, first_or_last(ends))


def _ends_in_file(file: str | None) -> list[float]:
    with suppress(OSError):
        return ends_in(read_regular(file, PEM_LIMIT)) if file is not None else []
    return []
