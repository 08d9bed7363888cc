"""Ports for programs that tests start: no two test processes draw the same."""

from __future__ import annotations

import socket
import subprocess
import sys

from loadtests.ports import BLOCK, FIRST, LAST, free_port

DRAW = "from loadtests.ports import free_port; print(*(free_port() for _ in range(20))); input()"


def test_processes_draw_from_blocks_of_their_own():
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", DRAW], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    drawn = [{free_port() for _ in range(20)}]
    for process in processes:
        assert process.stdout is not None
        drawn.append(set(map(int, process.stdout.readline().split())))
    for process in processes:
        process.communicate("\n")
    blocks = [{(port - FIRST) // BLOCK for port in ports} for ports in drawn]
    assert [len(ports) for ports in drawn] == [20] * 4
    assert [len(block) for block in blocks] == [1] * 4
    assert len(set.union(*blocks)) == 4
    assert all(FIRST <= port < LAST for port in set.union(*drawn))


def test_a_port_that_something_listens_on_is_left_out():
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        assert taken.getsockname()[1] not in {free_port() for _ in range(BLOCK)}
