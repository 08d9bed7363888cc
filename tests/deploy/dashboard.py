"""Reads Grafana dashboards: their PromQL expressions and the metrics in them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.deploy.project import ROOT

# Grafana replaces these variables before it sends the expression to Prometheus.
GRAFANA_VARIABLES = {"$__rate_interval": "1m", "$__interval": "15s", "$__range": "1h"}
GROUPING = re.compile(r"\b(by|without|on|ignoring|group_left|group_right)\b\s*(\([^)]*\))?")
OPERATORS = {"and", "or", "unless", "bool", "offset"}


def dashboard_files() -> list[Path]:
    return sorted((ROOT / "deploy/grafana/dashboards").glob("*.json"))


def strings_at(node: Any, key: str) -> Iterator[str]:
    """Every string with this key, at any depth."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name == key and isinstance(value, str):
                yield value
            else:
                yield from strings_at(value, key)
    elif isinstance(node, list):
        for item in node:
            yield from strings_at(item, key)


def expressions(file: Path) -> list[str]:
    """Every PromQL expression of a dashboard, with the variables replaced."""
    dashboard = json.loads(file.read_text())
    found = []
    for text in strings_at(dashboard, "expr"):
        for variable, value in GRAFANA_VARIABLES.items():
            text = text.replace(variable, value)
        found.append(re.sub(r"\$\w+", ".*", text))
    queries = [re.fullmatch(r"label_values\((.+), \w+\)", q) for q in strings_at(dashboard, "definition")]
    return found + [query[1] for query in queries if query]


def metric_names(expression: str) -> set[str]:
    """The metric names: what remains without strings, selectors, ranges, groupings, functions and operators."""
    text = re.sub(r"\"[^\"]*\"", "", expression)
    text = GROUPING.sub(" ", re.sub(r"\{[^}]*\}|\[[^]]*\]", " ", text))
    names = re.findall(r"(?<![\w:.])([a-zA-Z_:][\w:]*)\b(?!\s*\()", text)
    return set(names) - OPERATORS
