"""Check that a proxy does the work of the benchmark. A proxy that does less is not measured."""

from __future__ import annotations

import re
from collections import Counter
from http.client import HTTPConnection

from loadtests.binomial import interval
from loadtests.measured_proxy import MeasuredProxy
from loadtests.processes import BenchError
from loadtests.work import CUSTOMERS, HEADER

SHARE_OF_B = 0.1


def check_equivalence(contestant: MeasuredProxy) -> None:
    """Customers keep their origin, 10 % of them have origin `b`, and the origin receives the client's address.

    Raises BenchError otherwise.
    """
    connection = HTTPConnection("127.0.0.1", contestant.port, timeout=10)
    try:
        first, second = ([ask_origin(connection, n) for n in range(1, CUSTOMERS + 1)] for _ in range(2))
    finally:
        connection.close()
    origins = [origin for origin, _ in first]
    again = [origin for origin, _ in second] if contestant.sticky else origins
    problems = problems_of(origins, again)
    # Envoy replaces a loopback address by an address of the machine.
    if not re.search(rb"(?im)^x-forwarded-for: *[0-9.]+\r?$", first[0][1]):
        problems.append("the origin does not receive the client's address (X-Forwarded-For)")
    if problems:
        raise BenchError(f"{contestant.name} does not do the same work: {'; '.join(problems)}")


def ask_origin(connection: HTTPConnection, customer: int) -> tuple[str, bytes]:
    """The origin that answered, and the request head that it received."""
    connection.request("GET", "/echo", headers={HEADER: f"customer-{customer}"})
    answer = connection.getresponse()
    head = answer.read()
    return answer.headers.get("x-origin", "nobody"), head


def problems_of(first: list[str], second: list[str]) -> list[str]:
    problems = []
    if moved := sum(a != b for a, b in zip(first, second, strict=True)):
        problems.append(f"{moved} of {len(first)} customers changed their origin")
    low, high = interval(len(first), SHARE_OF_B)
    found = Counter(first)
    if not low <= found["b"] <= high:
        problems.append(f"{found['b']} customers have origin b; expected are {low} to {high}")
    if others := set(found) - {"a", "b"}:
        problems.append(f"answered by {', '.join(sorted(others))}")
    return problems
