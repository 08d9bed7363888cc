"""Whole files with the routes of a test, one on each line."""

from __future__ import annotations

BASE = """\
listen: {listen}
admin: {admin}
backends: {{a: {{endpoints: http://a}}, b: {{endpoints: http://b}}, {c}}}
routes:
{routes}
"""
ALL_USED = "{name: all, match: {path: /all}, split: {a: 1, b: 1, c: 1}}"


def whole(*routes: str, listen: str = ":80", admin: str = "{}", c: str = "c: {endpoints: http://c}") -> str:
    """The file with these routes, one per line from line 5 on."""
    lines = "\n".join(f"- {route}" for route in routes or (ALL_USED,))
    return BASE.format(listen=listen, admin=admin, c=c, routes=lines)


def rollout(split: str, roles: str, more: str = "") -> str:
    return f"{{name: r, split: {{{split}}}{more}, rollout: {{strategy: canary, {roles}}}}}"
