"""What proxies make of doubtful bytes: `python -m loadtests.doubt`.

Each message under tests/corpus/bad goes to crossfade, nginx, HAProxy, Envoy, Traefik and Caddy, each on a
connection of its own. Refused: answered with an error. Passed on: something of it reached the origin, in
whatever spelling; that is not a hole by itself (RFC 9112 lets a recipient take a bare LF for a line's end), but it
is one more thing that two parsers can read in two ways. Silent: neither, within a second.

The table goes into docs/doubtful-bytes.md.
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
NOT_ON_THE_WIRE = (
    "-rfc9112-2.1-"  # no whole message, or two: doubtful only to a parser that is given them as one
)
PATIENCE = 1.0  # seconds
REFUSED, PASSED_ON, SILENT = "refused", "passed on", "silent"


@dataclass
class Origin:
    """Answers everything, and knows which messages reached it."""

    port: int
    reached: list[bytes] = field(default_factory=list)

    def serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while data := connection.recv(65536):
                if not data.startswith(b"GET /health "):
                    self.reached.append(data)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


@contextmanager
def listening() -> Iterator[Origin]:
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
    """What comes back until the connection ends, or for as long as one waits."""
    said = b""
    with socket.create_connection(("127.0.0.1", port)) as client, suppress(OSError):
        client.settimeout(PATIENCE)
        client.sendall(raw)
        while not said.startswith(b"HTTP/1.") or b"\r\n\r\n" not in said:
            data = client.recv(65536)
            if not data:
                break
            said += data
    return said


def verdict(said: bytes, reached: bool) -> str:
    if reached:
        return PASSED_ON
    return REFUSED if said.startswith(b"HTTP/1.") and said[9:10] in (b"3", b"4", b"5") else SILENT


def verdicts(port: int, origin: Origin) -> dict[str, str]:
    """By message."""
    found = {}
    for path in sorted(CORPUS.glob("*.raw")):
        if NOT_ON_THE_WIRE in path.stem:
            continue
        origin.reached.clear()
        said = ask(port, path.read_bytes())
        found[path.stem] = verdict(said, bool(origin.reached))
    return found


def render(versions: Mapping[str, str], found: Mapping[str, Mapping[str, str]]) -> str:
    total = len(next(iter(found.values())))
    rows = [["proxy", REFUSED, PASSED_ON, SILENT]]
    for proxy, by_message in found.items():
        counts = [str(list(by_message.values()).count(each)) for each in (REFUSED, PASSED_ON, SILENT)]
        rows.append([f"{proxy} {versions[proxy]}", *counts])
    names = list(next(iter(found.values())))
    passed = [[name, *(short(found[proxy][name]) for proxy in found)] for name in names]
    interesting = [row for row in passed if set(row[1:]) != {""}]
    return "\n".join(
        [
            f"Of {total} messages:",
            "",
            *aligned(rows),
            "",
            f"Those that not all refuse (`{PASSED_ON}`, `{SILENT}`; empty: refused):",
            "",
            *aligned([["message", *found], *interesting]),
        ]
    )


def short(verdict: str) -> str:
    return "" if verdict == REFUSED else verdict


def main() -> int:
    found, versions = {}, {}
    with listening() as origin, tempfile.TemporaryDirectory(prefix="crossfade-doubt-") as folder:
        for name in filter(is_present, PROXIES):
            place = Path(folder) / name
            place.mkdir()
            contestant = MAKERS[name](place, dict.fromkeys("abc", origin.port))
            with ExitStack() as stack:
                entrant = start(contestant, Cores(frozenset(), frozenset()), place, stack)
                print(f"asking {contestant.name}", file=sys.stderr)
                found[contestant.name] = verdicts(entrant.port, origin)
                versions[contestant.name] = contestant.version
    before, _, rest = PAGE.read_text().partition(BEGIN)
    text = render(versions, found)
    PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
