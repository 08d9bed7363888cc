"""docs/yaml.md: every key of the configuration, from the schema that is generated from the types.

Rule: the descriptions, defaults and forms are those of the types; nothing is written here but how they are laid out and
which page says more of a section.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from crossfade.config.schema import json_schema

Schema = dict[str, Any]
HEAD = """\
# The keys of the YAML

This page is generated from the types that read the file: `python -m tests.docs.generate`. It has each key, what may be written, and the default.
[config/examples/full.yaml](../config/examples/full.yaml) has all of them in one file. [config/schema.json](../config/schema.json) lets editors complete and check:
put `# yaml-language-server: $schema=…` on the first line of a file.

`crossfade check FILE` says all errors at once, with line and column. An unknown key is an error.

| what may be written | examples |
|---|---|
| duration | `250ms`, `2s`, `24h`, `1h30m`; a number is seconds |
| size | `10MiB`, `64KB`; a number is bytes |
| share, weight | `5%` or `0.05`; in a split also plain weights, such as `9` and `1` |
| quantile | `p99` or `0.99` |
| change | `0.5%`, `-1%` or `-0.01` |
| any value | `${NAME}`, or `${NAME:-default}`: a variable of the environment |

**required** stands where a key has no default and must be given. – stands where nothing is set if the key is not given. *those there*: the keys of that section have their own.
"""
MORE = {
    "admin": "security.md",
    "admin.tokens": "security.md#tokens-with-names-and-roles",
    "notify": "notifications.md",
    "log": "logs.md",
    "metrics": "metrics.md",
    "routes.rollout.steps.gate": "gates.md",
    "journal": "journal.md",
    "drain": "connections.md#how-a-signal-ends-the-proxy",
    "registry": "retraining.md#the-registry",
    "access_log": "clients.md#the-access-log",
    "limits": "clients.md#limits-of-requests",
    "paths": "routes.md#the-spelling-of-paths",
    "tls": "connections.md#tls-of-clients",
    "backends": "endpoints.md",
    "backends.queue": "clients.md#the-queue",
    "backends.request": "rewriting.md",
    "routes": "routes.md",
    "routes.redirect": "routes.md#routes-that-the-proxy-answers-itself",
    "routes.respond": "routes.md#routes-that-the-proxy-answers-itself",
    "routes.cors": "routes.md#web-pages-of-other-origins-cors",
    "routes.response": "routes.md#header-fields-of-answers",
    "routes.sticky.assign": "clients.md#visitors-without-a-key",
    "routes.mirror": "mirrors.md",
    "routes.errors": "errors.md",
    "routes.prediction": "predictions.md",
    "routes.keep": "mirrors.md#pairs-as-files",
    "routes.feedback": "feedback.md",
    "routes.drift": "drift.md",
    "routes.limits.rate": "clients.md#rate-limits",
    "routes.rollout": "strategies.md",
    "routes.rollout.steps": "strategies.md#steps",
    "routes.rollout.checks": "statistics.md#what-is-tested",
    "routes.rollout.fuse": "statistics.md#the-fuse",
    "routes.rollout.watch": "strategies.md#the-watch-after-a-promote",
    "routes.report": "report.md",
    "routes.retrain": "retraining.md",
    "prometheus": "strategies.md#prometheus-queries",
}


@dataclass(slots=True)
class Part:
    """A section of the file: where it stands (the first place names it), and its schema."""

    places: list[str]
    schema: Schema = field(repr=False)

    @property
    def name(self) -> str:
        return self.places[0]


def _name_of(schema: Schema) -> str:
    """Of a section, wherever it is used; "" of what is none."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    return str(schema.get("title", "")) if "properties" in schema else ""


def _alternatives(schema: Schema) -> Iterator[Schema]:
    """All forms of a value, also those in a list or below a name."""
    for form in schema.get("anyOf", [schema]) if "properties" not in schema else [schema]:
        if "anyOf" in form and "properties" not in form:
            yield from _alternatives(form)
        else:
            yield form


def _inner(schema: Schema, below: str = "") -> Iterator[tuple[str, Schema]]:
    """The forms, and those of elements and of values below a name, each with the keys that lead to it."""
    for form in _alternatives(schema):
        yield below, form
        for key in ("items", "additionalProperties"):
            if isinstance(form.get(key), dict):
                yield from _inner(form[key], below)
        if "properties" in form and not form.get("title"):  # one of several keys, such as those of sticky
            for key, value in form["properties"].items():
                yield from _inner(value, f"{below}.{key}")


def parts(schema: Schema) -> dict[str, Part]:
    """The sections by the names of their types."""
    found: dict[str, Part] = {"": Part([""], schema)}
    _collect(schema, "", schema["$defs"], found)
    return found


def _in_order(found: dict[str, Part]) -> Iterator[Part]:
    """Each section before those below it, and these before the next one."""
    waiting = [part for part in reversed(found.values()) if "." not in part.name]
    while waiting:
        part = waiting.pop()
        yield part
        below = [p for p in found.values() if part.name and p.name.startswith(f"{part.name}.")]
        of_it = [p for p in below if not any(p.name.startswith(f"{other.name}.") for other in below)]
        waiting += reversed(of_it)


def _collect(section: Schema, path: str, definitions: Schema, found: dict[str, Part]) -> None:
    waiting = list[tuple[str, str, Schema]]()
    for key, value in section["properties"].items():
        for keys, form in _inner(value):
            if name := _name_of(form):
                below = definitions.get(name, form)
                place = (f"{path}.{key}" if path else key) + keys
                if name not in found:
                    found[name] = Part([place], below)
                    waiting.append((name, place, below))
                elif place not in found[name].places:
                    found[name].places.append(place)
    for _, place, below in waiting:
        _collect(below, place, definitions, found)


class Words:
    """What may be written for a value, in words."""

    def __init__(self, found: dict[str, Part]) -> None:
        self.found = found

    def of(self, schema: Schema) -> str:
        said = list[str]()
        for form in _alternatives(schema):
            words = self._form(form)
            if words and words not in said:
                said.append(words)
        if "duration" in said or "share" in said or "size" in said or "quantile" in said or "change" in said:
            said = [words for words in said if words != "number" and words != "whole number"]
        lists = [words for words in said if words.startswith("list of ")]
        others = " or ".join(words for words in said if words not in lists)
        if lists == [f"list of {others}"]:
            return f"{others}, or a list"
        return " or ".join(said)

    def _form(self, form: Schema) -> str:
        if name := _name_of(form):
            target = self.found[name].name
            return f"[{target.rpartition('.')[2]}](#{target.replace('.', '')})"
        if "const" in form:
            return f"`{json.dumps(form['const']) if not isinstance(form['const'], str) else form['const']}`"
        if "enum" in form:
            return ", ".join(f"`{v if isinstance(v, str) else json.dumps(v)}`" for v in form["enum"])
        if "properties" in form:
            return "one of " + ", ".join(self._key(key, value) for key, value in form["properties"].items())
        if "items" in form:
            return f"list of {self.of(form['items'])}"
        if isinstance(form.get("additionalProperties"), dict):
            return f"name: {self.of(form['additionalProperties'])}, …"
        return _plain(form)

    def _key(self, key: str, value: Schema) -> str:
        linked = next((self._form(form) for _, form in _inner(value) if _name_of(form)), "")
        return linked or f"`{key}`"


def _plain(form: Schema) -> str:
    pattern, kind = form.get("pattern", ""), form.get("type")
    if pattern == r"\$\{" or kind == "null":
        return ""
    for part, words in _PATTERNS.items():
        if part in pattern:
            return words
    if isinstance(kind, list):
        return "text"
    return {"string": "text", "integer": "whole number", "boolean": "`true`, `false`"}.get(
        str(kind), str(kind)
    )


_PATTERNS = {
    "(ms|s|m": "duration",
    "-?[0-9]": "change",
    "?%": "share",
    "KiB": "size",
    "^(p[0-9]": "quantile",
    "[45]xx": "`4xx`, `5xx`, a status",
    ":[0-9]+$": "`host:port`",
    "https?|unix": "URL",
    "^/": "path",
    "[0-9]+/[0-9]+": "`n/m`",
}


def _default(value: Schema, words: str, required: bool) -> str:
    if required:
        return "**required**"
    if "default" not in value and words.startswith("["):
        return "*those there*"
    default = value.get("default")
    if default is None or default in ([], {}, ""):
        return "–"
    if isinstance(default, list):
        shown = [_scalar(each, words) for each in default]
        return ", ".join(shown) if len(shown) <= 8 else f"{', '.join(shown[:4])}, … ({len(shown)} in all)"
    return _scalar(default, words)


def _scalar(value: Any, words: str) -> str:
    if isinstance(value, bool) or value is None or isinstance(value, dict):
        return f"`{json.dumps(value)}`"
    if isinstance(value, int | float) and "duration" in words:
        return f"`{_in_units(value, (('d', 86400), ('h', 3600), ('m', 60), ('s', 1), ('ms', 0.001)))}`"
    if isinstance(value, int | float) and "size" in words:
        return f"`{_in_units(value, (('GiB', 1 << 30), ('MiB', 1 << 20), ('KiB', 1 << 10), ('B', 1)))}`"
    if isinstance(value, int | float) and words.startswith(("share", "change")):
        return f"`{value * 100:.10g}%`"
    if isinstance(value, int | float) and "quantile" in words:
        return f"`p{value * 100:.10g}`"
    return f"`{value}`" if isinstance(value, str) else f"`{value:.10g}`"


def _in_units(value: float, units: tuple[tuple[str, float], ...]) -> str:
    """In the largest unit that divides it."""
    for unit, of in units:
        count = value / of
        if count >= 1 and abs(count - round(count)) < 1e-9:
            return f"{round(count)}{unit}"
    return f"{value:.10g}{units[-2][0] if units[-1][0] == 'ms' else ''}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _table(schema: Schema, words: Words) -> Iterator[str]:
    yield "| key | may be | default | |"
    yield "|---|---|---|---|"
    required = schema.get("required", [])
    for key, value in schema["properties"].items():
        may_be = words.of(value)
        default = _default(value, may_be, key in required)
        yield f"| `{key}` | {_cell(may_be)} | {_cell(default)} | {_cell(value.get('description', ''))} |"


def page() -> str:
    schema = json_schema()
    found = parts(schema)
    words = Words(found)
    lines = [HEAD]
    for part in _in_order(found):
        lines += ["## The top of the file" if not part.name else f"## {part.name}", ""]
        if part.name:
            lines += [str(part.schema.get("description", "")), ""]
        if len(part.places) > 1:
            lines += [f"Also at {', '.join(f'`{place}`' for place in part.places[1:])}.", ""]
        if more := MORE.get(part.name):
            lines += [f"More: [{more.partition('#')[0]}]({more}).", ""]
        lines += [*_table(part.schema, words), ""]
    return "\n".join(lines)
