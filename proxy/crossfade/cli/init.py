"""`crossfade init`: writes a first configuration, from three answers or from what the model servers say of themselves."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from pathlib import Path

from crossfade.cli.exits import INVALID, OK, USAGE, CommandFailed
from crossfade.cli.output import print_json, print_text
from crossfade.cli.probing import Found, Server, found_at
from crossfade.cli.written import Version, Wanted, configuration

UNKNOWN = Found("", "", "", "")
_KINDS = ("json", "header", "cookie", "query")


def init(arguments: Namespace) -> int:
    """Exit code 1 if the file is there already."""
    file = Path(arguments.output)
    if arguments.output != "-" and file.exists() and not arguments.force:
        raise CommandFailed(
            INVALID, f"{file} is there already", "Write another one with -o FILE, or over it with --force."
        )
    urls, sticky = _asked(arguments)
    if len(urls) > 2:
        raise CommandFailed(USAGE, "--from: give the version that serves now, and the new one")
    found = [_found(url, arguments) for url in urls]
    versions = [
        Version(f"v{number}", Server(url).url, each.health)
        for number, (url, each) in enumerate(zip(urls, found, strict=True), 1)
    ]
    first = found[0]
    prefix = first.protocol in ("oip_v2", "openai", "kserve_v1")
    text = configuration(Wanted(versions, first.path, prefix, first.protocol, sticky_entry(sticky)))
    _check(text, arguments.output)
    if arguments.output == "-":
        print(text, end="")
        return OK
    try:
        file.write_text(text, "utf-8")
    except OSError as error:
        raise CommandFailed(INVALID, f"cannot write {file}: {error.strerror}") from None
    if arguments.json:
        print_json({"file": str(file), "found": [each._asdict() for each in found]})
    else:
        print_text(
            f"{file} is written. `crossfade run {file}` serves by it; its comments say what to change."
        )
    return OK


def _asked(arguments: Namespace) -> tuple[list[str], str]:
    """The URLs and the sticky key, by options or by three questions."""
    if arguments.urls:
        return arguments.urls, arguments.sticky
    if not sys.stdin.isatty():
        raise CommandFailed(
            USAGE,
            "there is no terminal to ask at",
            "Give --from http://127.0.0.1:8000, once for each version.",
        )
    now = _ask("1/3 Where is the model that serves now?", "http://127.0.0.1:8000")
    new = _ask("2/3 Where is its new version? (empty: there is none yet)", "")
    sticky = _ask(
        "3/3 What names a customer, so that each stays with one version? json:customer_id, header:X-Customer-Id, cookie:NAME, "
        "client_ip (empty: nothing)",
        "",
    )
    return [now, *([new] if new else [])], sticky


def _ask(question: str, default: str) -> str:
    shown = f" [{default}]" if default else ""
    print(f"{question}{shown}: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip() or default


def _found(url: str, arguments: Namespace) -> Found:
    """What the server says of itself. If it was named by an answer, it need not be there yet."""
    try:
        found = found_at(url)
    except CommandFailed as failed:
        if arguments.urls or failed.code == USAGE:
            raise
        print_text(f"{failed}: write its health and its path into the file", sys.stderr)
        return UNKNOWN
    print_text(f"{Server(url).url}: {found.said}; health: {found.health or 'no path is known'}", sys.stderr)
    return found


def sticky_entry(given: str) -> str:
    """`json:customer_id` → `json: customer_id`, as the file has it. Raises CommandFailed."""
    if given in ("", "none"):
        return ""
    if given == "client_ip":
        return "client_ip: true"
    kind, _, name = given.partition(":")
    if kind not in _KINDS or not name.strip():
        raise CommandFailed(
            USAGE, f"{given}: must be client_ip, or {', '.join(f'{kind}:NAME' for kind in _KINDS)}"
        )
    return f"{kind}: {_quoted(name.strip())}"


def _quoted(name: str) -> str:
    import json

    return name if name.replace("-", "").replace("_", "").replace(".", "").isalnum() else json.dumps(name)


def _check(text: str, source: str) -> None:
    """Raises CommandFailed where an answer does not go into a file."""
    from crossfade.config.load import load
    from crossfade.config.problem import ConfigError

    try:
        load(text, source, os.environ)
    except ConfigError as error:
        raise CommandFailed(INVALID, str(error)) from None
