"""What serves clients: the listening sockets, the certificates, and the workers (or, without any, this process)."""

from __future__ import annotations

import logging
import os
import socket
import ssl
from itertools import chain
from typing import TYPE_CHECKING

from crossfade.config.address import ListenConfig
from crossfade.config.model import Config
from crossfade.stats.counts import CountsTable
from crossfade.workers import sockets
from crossfade.workers.admin_socket import AdminSocket, bind_path
from crossfade.workers.handover import Offer
from crossfade.workers.messages import Certificate, Listening, WorkerOptions
from crossfade.workers.place_keeper import PlaceKeeper, joined
from crossfade.workers.pool import WorkerPool
from crossfade.workers.start_error import StartError
from crossfade.workers.succession import Succession
from crossfade.workers.tls import Credentials, files_of

if TYPE_CHECKING:
    from crossfade.workers.direct import DirectSeam


log = logging.getLogger("crossfade")

AllCredentials = dict[Certificate, Credentials]


class Serving:
    """All is bound when it is made, and nothing serves yet. Raises StartError."""

    def __init__(
        self, config: Config, credentials: AllCredentials, succession: Succession, counts: CountsTable
    ) -> None:
        self.credentials = credentials
        self.succession = succession
        self.addresses: list[tuple[str, str, int]] = []  # that clients connect to: scheme, host, port
        count = len(os.sched_getaffinity(0)) if config.workers == "auto" else config.workers
        self.listening = self._listen(config, max(count, 1))
        self.admin = AdminSocket(self._bind_admin(config.admin.listen), config.admin.tls)
        self.keeper = PlaceKeeper(succession.take_places())
        sockets.close(succession.inherited)  # of addresses that are no longer configured
        self.seam = self._pool(config, counts) if count else self._direct(counts)

    def _listen(self, config: Config, workers: int) -> list[list[tuple[socket.socket, Listening]]]:
        """For each worker its listening sockets."""
        found: list[list[tuple[socket.socket, Listening]]] = [[] for _ in range(workers)]
        for address, written in config.listeners:
            each = self._bind(address, workers)
            tls = None if written is None else files_of(written)
            self.addresses.append(("https" if tls else "http", *each[0][0].getsockname()[:2]))
            for mine, socks in zip(found, each, strict=True):
                mine += [(sock, Listening(sock.fileno(), tls)) for sock in socks]
        return found

    def _bind(self, at: ListenConfig, workers: int) -> list[list[socket.socket]]:
        inherited, has_missing = self.succession.inherited, self.succession.has_missing
        try:
            return sockets.bind(at.host, at.port, workers, inherited, has_missing)
        except OSError as error:
            raise StartError(f"cannot listen on {at.authority}: {error.strerror or error}") from error

    def _bind_admin(self, at: ListenConfig) -> socket.socket:
        if not at.path:
            return self._bind(at, 1)[0][0]
        try:
            return bind_path(at.path, self.succession.inherited)
        except OSError as error:
            raise StartError(f"cannot listen on {at.authority}: {error.strerror or error}") from error

    def _pool(self, config: Config, counts: CountsTable) -> WorkerPool:
        options = WorkerOptions(seam_fd=-1, listening=[], lock_file=self.succession.lock_file)
        return WorkerPool(
            self.listening,
            options,
            counts,
            self.succession.leaving,
            self.name_workers,
            config.drain.timeout,
            self.keeper,
        )

    def _direct(self, counts: CountsTable) -> DirectSeam:
        from crossfade.dataplane.listener import DataPlane  # here alone: with workers, it is not loaded
        from crossfade.workers.direct import DirectSeam
        from crossfade.workers.observer_process import ObserverProcess

        plane = DataPlane(None, None, joined(self.keeper.fd, 1))
        plane.recorder.counts = counts
        listening = [
            (sock, self.credentials[at.tls].context if at.tls else None) for sock, at in self.listening[0]
        ]
        observer = ObserverProcess(self.succession.leaving.logged)
        return DirectSeam(plane, listening, self.succession, self.keeper, observer)

    @property
    def admin_context(self) -> ssl.SSLContext | None:
        return self.credentials[files_of(self.admin.tls)].context if self.admin.tls else None

    @property
    def pids(self) -> list[int]:
        return [status.pid for status in self.seam.workers()]

    def name_workers(self) -> None:
        self.succession.name_workers(self.pids)

    @property
    def generation(self) -> int:
        """Of the snapshot in use."""
        return self.seam.snapshot.generation if self.seam.snapshot is not None else 0

    def renew_tls(self) -> None:
        """New connections of clients get the certificate that is in the files now. If it cannot be used, the old one stays."""
        try:
            for credentials in self.credentials.values():
                credentials.renew()
        except OSError as error:
            log.error("TLS certificate not renewed, the old one stays: %s", error)
        else:
            self.seam.renew()

    def offer(self) -> Offer:
        """What a successor gets."""
        unique = dict.fromkeys(sock for sock, _ in chain.from_iterable(self.listening))
        return Offer(self.seam.publish, self.generation, self.admin.sock, list(unique), self.keeper.fd)

    def close_copies(self) -> None:
        """With our copies open, the kernel would queue connections that no worker accepts."""
        sockets.close(sock for sock, _ in chain.from_iterable(self.listening))


def credentials_of(config: Config) -> AllCredentials:
    """Loaded in the control process too, so that bad files are found before a worker starts. Raises StartError."""
    sections = [tls for _, tls in config.listeners] + [config.admin.tls]
    try:
        return {
            files: Credentials(files)
            for files in {files_of(tls): None for tls in sections if tls is not None}
        }
    except OSError as error:
        raise StartError(f"tls: {error}") from error
