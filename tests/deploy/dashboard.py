"""Reads Grafana dashboards: their PromQL expressions and the metrics in them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import promql_parser

from tests.deploy.project import ROOT

# Grafana replaces these variables before it sends the expression to Prometheus.
GRAFANA_VARIABLES = {"$__rate_interval": "1m", "$__interval": "15s", "$__range": "1h"}


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


class Query(NamedTuple):
    """What a panel asks Prometheus. `name`: of the query in the panel, from A. All variables have the value All."""

    dashboard: str
    panel: str
    name: str
    expression: str


def queries(file: Path) -> list[Query]:
    """Those of all panels of a dashboard."""
    return [
        Query(file.name, panel["title"], target["refId"], filled_in(target["expr"]))
        for panel in json.loads(file.read_text())["panels"]
        for target in panel.get("targets", [])
    ]


def filled_in(text: str) -> str:
    for variable, value in GRAFANA_VARIABLES.items():
        text = text.replace(variable, value)
    return re.sub(r"\$[a-z]\w*", ".*", text)  # "$1" stays: it is of label_replace


def expressions(file: Path) -> list[str]:
    """Every PromQL expression of a dashboard: of panels, of annotations and of variables."""
    dashboard = json.loads(file.read_text())
    variables = [re.fullmatch(r"label_values\((.+), \w+\)", q) for q in strings_at(dashboard, "definition")]
    asked = [filled_in(text) for text in strings_at(dashboard, "expr")]
    return asked + [filled_in(variable[1]) for variable in variables if variable]


def metric_names(expression: str) -> set[str]:
    """The names of the metrics that it reads. Raises ValueError if it is no PromQL."""
    names: set[str] = set()

    def note(part: promql_parser.Expr) -> None:
        if isinstance(part, promql_parser.VectorSelector) and part.name is not None:
            names.add(part.name)

    promql_parser.walk(promql_parser.parse(expression), note)
    return names
