"""The listening socket of the admin API: a port, or a unix socket that the file system protects.

Rule: a unix socket has the mode 0660 before anybody can connect. A file of a process that is gone is replaced; one at which
somebody listens, or that is no socket, is not. Only the process that ends for good takes its file away: a successor has the same.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import MutableSequence

from crossfade.config.listener import TlsConfig
from crossfade.workers.package_path import environment

MODE = 0o660
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class AdminSocket:
    def __init__(self, sock: socket.socket, tls: TlsConfig | None) -> None:
        self.sock = sock
        self.tls = tls

    @property
    def path(self) -> str:
        """Of a unix socket; "" of a port."""
        return str(self.sock.getsockname()) if self.sock.family == socket.AF_UNIX else ""

    @property
    def shown(self) -> str:
        """As the log has it."""
        return f"unix:{self.path}" if self.path else self._at(self.sock.getsockname()[0])

    @property
    def url(self) -> str:
        """By which processes of this machine reach it."""
        host = "" if self.path else self.sock.getsockname()[0]
        return f"unix:{self.path}" if self.path else self._at(_ANYWHERE.get(host, host))

    def _at(self, host: str) -> str:
        name = f"[{host}]" if ":" in host else host
        return f"{'https' if self.tls else 'http'}://{name}:{self.sock.getsockname()[1]}"

    def environment(self, token: str) -> dict[str, str]:
        """Of commands that ask this API. They trust the certificate of its file whatever name they connect to, and show it
        where the API asks for one."""
        given = {**environment(), "CROSSFADE_ADMIN_URL": self.url, "CROSSFADE_ADMIN_TOKEN": token}
        if self.tls is not None:
            cert, key = self.tls.pairs[0]
            given["CROSSFADE_ADMIN_CACERT"] = cert
            if self.tls.client_ca is not None:
                given |= {"CROSSFADE_ADMIN_CERT": cert, "CROSSFADE_ADMIN_KEY": key}
        return given

    def remove(self) -> None:
        """The proxy has ended, and nobody has followed."""
        path = self.path
        self.sock.close()
        if path:
            with contextlib.suppress(OSError):
                if is_left_behind(path):
                    os.unlink(path)


def bind_path(path: str, inherited: MutableSequence[socket.socket]) -> socket.socket:
    """The inherited socket of this path, or a new one. Raises OSError where it cannot be bound."""
    for sock in inherited:
        if sock.family == socket.AF_UNIX and sock.getsockname() == path:
            inherited.remove(sock)
            sock.setblocking(False)
            return sock
    if is_left_behind(path):
        os.unlink(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.bind(path)
        os.chmod(path, MODE)
    except BaseException:
        sock.close()
        raise
    return sock


def is_left_behind(path: str) -> bool:
    """Whether a socket is there at which nobody listens. Raises OSError for anything else that is there."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise FileExistsError(errno.EEXIST, "there is a file that is no socket")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            probe.connect(path)
    except FileNotFoundError:
        return False
    except ConnectionRefusedError:
        return True
    except BlockingIOError:
        pass  # its queue is full
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
