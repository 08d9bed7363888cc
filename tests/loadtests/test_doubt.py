from __future__ import annotations

import threading

from loadtests.doubt import PASSED_ON, REFUSED, SILENT, ask, outcome, render, running_origin

GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


def test_a_message_that_reaches_the_origin_is_passed_on_for_any_answer() -> None:
    assert outcome(b"HTTP/1.1 400 Bad\r\n\r\n", reached=False) == REFUSED
    assert outcome(b"HTTP/1.1 400 Bad\r\n\r\n", reached=True) == PASSED_ON
    assert outcome(b"", reached=False) == SILENT


def test_the_origin_records_requests_but_no_health_probes() -> None:
    with running_origin() as origin:
        ask(origin.port, b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n")
        assert origin.reached == []
        assert ask(origin.port, GET).startswith(b"HTTP/1.1 200 ")
        assert origin.reached == [GET]


def test_the_tables_count_all_messages_and_list_those_that_not_all_refuse() -> None:
    found = {
        "a": {"400-x": REFUSED, "400-y": REFUSED},
        "b": {"400-x": REFUSED, "400-y": PASSED_ON},
    }
    text = render({"a": "1", "b": "2"}, found)
    assert "Of 2 messages" in text
    assert "| b 2   |       1 |         1 |      0 |" in text
    assert "| 400-y   |     | passed on |" in text
    assert "400-x" not in text


def test_the_origin_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    with running_origin() as origin:
        ask(origin.port, GET)
    for thread in threading.enumerate():
        if thread.daemon:
            thread.join(5)
    assert threading.active_count() <= before
