"""Whether a proxy does the work that all are measured at; what does less is not measured."""

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
    """Customers keep their origin, 10 % are with `b`, and the origin learns the client's address."""
    connection = HTTPConnection("127.0.0.1", contestant.port, timeout=10)
    try:
        first, second = ([visit(connection, n) for n in range(1, CUSTOMERS + 1)] for _ in range(2))
    finally:
        connection.close()
    origins = [origin for origin, _ in first]
    again = [origin for origin, _ in second] if contestant.sticky else origins
    problems = problems_of(origins, again)
    # Envoy puts the machine's own address in the place of a loopback one.
    if not re.search(rb"(?im)^x-forwarded-for: *[0-9.]+\r?$", first[0][1]):
        problems.append("the origin is not told the client's address")
    if problems:
        raise BenchError(f"{contestant.name} does not do the same work: {'; '.join(problems)}")


def visit(connection: HTTPConnection, customer: int) -> tuple[str, bytes]:
    """The origin that answered, and the head of the request as it arrived there."""
    connection.request("GET", "/echo", headers={HEADER: f"customer-{customer}"})
    answer = connection.getresponse()
    head = answer.read()
    return answer.headers.get("x-origin", "nobody"), head


def problems_of(first: list[str], second: list[str]) -> list[str]:
    problems = []
    if moved := sum(a != b for a, b in zip(first, second, strict=True)):
        problems.append(f"{moved} of {len(first)} customers did not stay with their origin")
    low, high = interval(len(first), SHARE_OF_B)
    found = Counter(first)
    if not low <= found["b"] <= high:
        problems.append(f"{found['b']} customers are with b, {low} to {high} should be")
    if others := set(found) - {"a", "b"}:
        problems.append(f"answered by {', '.join(sorted(others))}")
    return problems
