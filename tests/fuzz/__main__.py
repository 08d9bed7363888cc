"""Fuzz one law: `python -m tests.fuzz LAW [SECONDS]`.

With atheris (`pip install 'crossfade[fuzz]'`) the cases are guided by coverage of the proxy's code; --corpus FOLDER
keeps them. Without atheris they are mutations of the corpus. A case that breaks the law is written to the
current folder; add it to tests/corpus with the fix.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from random import randrange
from zlib import crc32

NAMES = ["request-head", "response-head", "chunks", "client", "origin"]
ROUND = 1000


def guided(name: str, seconds: int, folder: Path) -> None:
    """With libFuzzer, which ends the process itself."""
    import atheris

    with atheris.instrument_imports(include=["crossfade"]):
        from tests.fuzz.laws import LAWS, Exchanges
        from tests.fuzz.mutations import TOKENS
    law, seeds = LAWS[name]
    start = folder / "seeds"
    start.mkdir(parents=True, exist_ok=True)
    for raw in set(seeds()):
        (start / f"{crc32(raw):08x}").write_bytes(raw)
    words = folder / "words"
    words.write_text("".join(f'"{quoted(token)}"\n' for token in TOKENS))
    found = folder / "found"
    found.mkdir(exist_ok=True)
    options = [
        f"-max_total_time={seconds}",
        "-max_len=2000",
        f"-dict={words}",
        "-artifact_prefix=./",
        "-timeout=20",
    ]
    with Exchanges() as exchanges:
        atheris.Setup([sys.argv[0], *options, str(found), str(start)], lambda raw: law(exchanges, raw))
        atheris.Fuzz()


def quoted(token: bytes) -> str:
    """Quoted for a libFuzzer dictionary."""
    return "".join(f"\\x{byte:02x}" for byte in token)


def unguided(name: str, seconds: int) -> int:
    from tests.fuzz.laws import LAWS, Exchanges
    from tests.fuzz.mutations import mutations

    law, seeds = LAWS[name]
    start, end, count, seed = seeds(), time.monotonic() + seconds, 0, randrange(1 << 32)
    with Exchanges() as exchanges:
        while time.monotonic() < end:
            for raw in mutations(ROUND, seed + count, start):
                try:
                    law(exchanges, raw)
                except Exception:
                    file = Path(f"case-{crc32(raw):08x}.raw")
                    file.write_bytes(raw)
                    print(f"{file}: {raw!r}", file=sys.stderr)
                    raise
            count += ROUND
    print(f"{count} cases of {name}, none breaks the law")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("law", choices=NAMES)
    parser.add_argument("seconds", type=int, nargs="?", default=60)
    parser.add_argument("--corpus", type=Path, metavar="FOLDER", help="where what covers more is kept")
    parser.add_argument("--unguided", action="store_true", help="without atheris")
    options = parser.parse_args()
    if options.unguided or find_spec("atheris") is None:
        return unguided(options.law, options.seconds)
    with tempfile.TemporaryDirectory(prefix="crossfade-fuzz-") as folder:
        guided(options.law, options.seconds, options.corpus or Path(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
