from __future__ import annotations

import threading

from loadtests.doubt import PASSED_ON, REFUSED, SILENT, ask, listening, render, verdict

GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


def test_what_reaches_the_origin_is_passed_on_whatever_the_answer() -> None:
    assert verdict(b"HTTP/1.1 400 Bad\r\n\r\n", reached=False) == REFUSED
    assert verdict(b"HTTP/1.1 400 Bad\r\n\r\n", reached=True) == PASSED_ON
    assert verdict(b"", reached=False) == SILENT


def test_the_origin_knows_what_reached_it_and_no_probe() -> None:
    with listening() as origin:
        ask(origin.port, b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n")
        assert origin.reached == []
        assert ask(origin.port, GET).startswith(b"HTTP/1.1 200 ")
        assert origin.reached == [GET]


def test_the_tables_count_all_and_name_what_not_all_refuse() -> None:
    found = {
        "a": {"400-x": REFUSED, "400-y": REFUSED},
        "b": {"400-x": REFUSED, "400-y": PASSED_ON},
    }
    text = render({"a": "1", "b": "2"}, found)
    assert "Of 2 messages" in text
    assert "| b 2   |       1 |         1 |      0 |" in text
    assert "| 400-y   |     | passed on |" in text
    assert "400-x" not in text


def test_nothing_is_left_listening() -> None:
    before = threading.active_count()
    with listening() as origin:
        ask(origin.port, GET)
    for thread in threading.enumerate():
        if thread.daemon:
            thread.join(5)
    assert threading.active_count() <= before
