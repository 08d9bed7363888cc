"""Listening sockets: bound here, inherited from workers, or from systemd."""

from __future__ import annotations

import socket

import pytest

from crossfade.workers import sockets


@pytest.fixture
def port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def numbers(shares: list[list[socket.socket]]) -> list[list[int]]:
    return [[sock.fileno() for sock in share] for share in shares]


def test_each_worker_has_a_socket_of_its_own(port: int) -> None:
    shares = sockets.bind("127.0.0.1", port, 3, [])
    assert len({fd for share in numbers(shares) for fd in share}) == 3
    assert {sock.getsockname() for (sock,) in shares} == {("127.0.0.1", port)}
    sockets.close(sock for (sock,) in shares)


@pytest.mark.parametrize(("before", "workers"), [(2, 2), (3, 2), (1, 3)])
def test_every_inherited_socket_has_a_worker(port: int, before: int, workers: int) -> None:
    """A connection in the queue of any of them is accepted."""
    inherited = [sock for (sock,) in sockets.bind("127.0.0.1", port, before, [])]
    known = {sock.fileno() for sock in inherited}
    for sock in inherited:
        sock.listen()
    other = socket.socket()
    other.bind(("127.0.0.1", 0))
    inherited.append(other)
    shares = sockets.bind("127.0.0.1", port, workers, inherited)
    assert inherited == [other]
    served = {fd for share in numbers(shares) for fd in share}
    assert known <= served
    assert len(served) == max(before, workers)
    assert all(shares)
    sockets.close([other, *(sock for share in shares for sock in share)])


def test_a_single_socket_from_systemd_is_shared(port: int) -> None:
    """Without SO_REUSEPORT no other socket can be bound to its port."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", port))
    sock.listen()
    assert numbers(sockets.bind("127.0.0.1", port, 3, [sock])) == [[sock.fileno()]] * 3
    sock.close()


def test_a_port_of_another_process_is_not_shared(port: int) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", port))
        taken.listen()
        with pytest.raises(OSError, match="in use"):
            sockets.bind("127.0.0.1", port, 2, [])
