"""How proxies treat malformed and ambiguous requests: `python -m loadtests.doubt`.

Each message under tests/corpus/bad is sent to crossfade, nginx, HAProxy, Envoy, Traefik and Caddy, each on its own
connection. Refused: answered with an error. Passed on: some of it reached the origin, possibly respelled. This is not
a vulnerability by itself (RFC 9112 lets a recipient accept a bare LF as line terminator), but two parsers may read
such a message in two ways. Silent: neither, within a second.

The tables are written to docs/doubtful-bytes.md.
"""

from __future__ import annotations

import socket
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from loadtests.measure import start
from loadtests.proxies import MAKERS, is_present
from loadtests.tables import aligned
from loadtests.work import Cores

ROOT = Path(__file__).resolve().parents[1]
CORPUS = ROOT / "tests" / "corpus" / "bad"
PAGE = ROOT / "docs" / "doubtful-bytes.md"
BEGIN, END = "<!-- doubt:begin -->", "<!-- doubt:end -->"
PROXIES = ("crossfade", "nginx", "haproxy", "envoy", "traefik", "caddy")
# An incomplete message or two messages: malformed only for a parser that gets the bytes as one message.
NOT_ON_THE_WIRE = "-rfc9112-2.1-"
TIMEOUT = 1.0  # seconds
REFUSED, PASSED_ON, SILENT = "refused", "passed on", "silent"


@dataclass
class Origin:
    """An origin that answers every request with 200 and records what it receives."""

    port: int
    reached: list[bytes] = field(default_factory=list)

    def serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while data := connection.recv(65536):
                if not data.startswith(b"GET /health "):
                    self.reached.append(data)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


@contextmanager
def running_origin() -> Iterator[Origin]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        origin = Origin(server.getsockname()[1])

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    threading.Thread(target=origin.serve, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield origin
        server.shutdown(socket.SHUT_RDWR)


def ask(port: int, raw: bytes) -> bytes:
    """The answer: everything up to the end of the response head, of the connection, or of the timeout."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port)) as client, suppress(OSError):
        client.settimeout(TIMEOUT)
        client.sendall(raw)
        while not answer.startswith(b"HTTP/1.") or b"\r\n\r\n" not in answer:
            data = client.recv(65536)
            if not data:
                break
            answer += data
    return answer


def outcome(answer: bytes, reached: bool) -> str:
    if reached:
        return PASSED_ON
    return REFUSED if answer.startswith(b"HTTP/1.") and answer[9:10] in (b"3", b"4", b"5") else SILENT


def outcomes(port: int, origin: Origin) -> dict[str, str]:
    """REFUSED, PASSED_ON or SILENT for each message."""
    found = {}
    for path in sorted(CORPUS.glob("*.raw")):
        if NOT_ON_THE_WIRE in path.stem:
            continue
        origin.reached.clear()
        answer = ask(port, path.read_bytes())
        found[path.stem] = outcome(answer, bool(origin.reached))
    return found


def render(versions: Mapping[str, str], found: Mapping[str, Mapping[str, str]]) -> str:
    total = len(next(iter(found.values())))
    rows = [["proxy", REFUSED, PASSED_ON, SILENT]]
    for proxy, by_message in found.items():
        counts = [str(list(by_message.values()).count(each)) for each in (REFUSED, PASSED_ON, SILENT)]
        rows.append([f"{proxy} {versions[proxy]}", *counts])
    names = list(next(iter(found.values())))
    passed = [[name, *(short(found[proxy][name]) for proxy in found)] for name in names]
    not_all_refused = [row for row in passed if set(row[1:]) != {""}]
    return "\n".join(
        [
            f"Of {total} messages:",
            "",
            *aligned(rows),
            "",
            f"Messages that some proxy does not refuse (`{PASSED_ON}`, `{SILENT}`; empty: refused):",
            "",
            *aligned([["message", *found], *not_all_refused]),
        ]
    )


def short(outcome: str) -> str:
    return "" if outcome == REFUSED else outcome


def main() -> int:
    found, versions = {}, {}
    with running_origin() as origin, tempfile.TemporaryDirectory(prefix="crossfade-doubt-") as folder:
        for name in filter(is_present, PROXIES):
            place = Path(folder) / name
            place.mkdir()
            contestant = MAKERS[name](place, dict.fromkeys("abc", origin.port))
            with ExitStack() as stack:
                entrant = start(contestant, Cores(frozenset(), frozenset()), place, stack)
                print(f"sending all messages to {contestant.name}", file=sys.stderr)
                found[contestant.name] = outcomes(entrant.port, origin)
                versions[contestant.name] = contestant.version
    before, _, rest = PAGE.read_text().partition(BEGIN)
    text = render(versions, found)
    PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
