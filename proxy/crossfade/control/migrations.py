"""The formats of the state file, and how each becomes the next.

Rule: a format is never changed once a version has written it. A change of a table, of a field's name in a stored value, or of
the wording of reasons is a new format: raise FORMAT, add a migration and a golden file (python -m tests.control.make_golden).
Tables are migrated when the file is opened, all steps in one transaction. Records of the journal keep the bytes that were
hashed and are migrated each time they are read. Migrations never import what later versions may change.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

import msgspec

VERSION = version("crossfade")
APPLICATION = 0x43524F53  # "CROS" in the database's header
FORMAT = 7
OLDEST = 3  # formats 1 and 2 were never in use

_ROUTE_STATE_5 = """CREATE TABLE route_state (
    route TEXT PRIMARY KEY, version INTEGER NOT NULL, backends TEXT NOT NULL, slots BLOB NOT NULL,
    home TEXT, home_slots BLOB, applied TEXT NOT NULL, rollouts TEXT NOT NULL, latched TEXT NOT NULL,
    left_at REAL, evidence BLOB NOT NULL
) WITHOUT ROWID"""
SCHEMA = f"""
CREATE TABLE decisions (
    id INTEGER PRIMARY KEY, at REAL NOT NULL, route TEXT NOT NULL, hash TEXT NOT NULL, record TEXT NOT NULL
);
CREATE INDEX decisions_of_route ON decisions (route, id);
{_ROUTE_STATE_5};
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""


class FormatError(Exception):
    """The file is of another program, or of a format that this version does not know."""


# ── the file ──────────────────────────────────────────────────────────────────────────────────────


def format_of(connection: sqlite3.Connection) -> int | None:
    """The format of a state file, None when it is empty. Raises FormatError, or sqlite3.Error."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != APPLICATION and (application or tables):
        raise FormatError("is a database of another program")
    if not tables:
        return None
    (written,) = connection.execute("PRAGMA user_version").fetchone()
    if not OLDEST <= written <= FORMAT:
        raise FormatError(
            f"has format {written}, written by crossfade {_version_of(connection)}; "
            f"this version, {VERSION}, reads formats {OLDEST} to {FORMAT}"
        )
    return int(written)


def create(connection: sqlite3.Connection) -> None:
    """The tables of the current format, in an empty file."""
    connection.executescript(
        f"BEGIN; PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {FORMAT}; {SCHEMA} COMMIT;"
    )
    name_version(connection)


def migrate(connection: sqlite3.Connection) -> None:
    """To the current format, every step or none. Raises what the failed step raised."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Read again: before the transaction began, another process may have migrated the file.
        for number in range(format_of(connection) or FORMAT, FORMAT):
            TABLES[number](connection)
        connection.execute(f"PRAGMA user_version = {FORMAT}")
        name_version(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite ends it by itself when the disk is full
            connection.execute("ROLLBACK")
        raise


def name_version(connection: sqlite3.Connection) -> None:
    """Which version wrote the file last, for the error of an older one. Every format keeps `meta` as it is."""
    if _version_of(connection) != VERSION:
        connection.execute("INSERT OR REPLACE INTO meta VALUES ('version', ?)", (VERSION,))


def _version_of(connection: sqlite3.Connection) -> str:
    try:
        found = connection.execute("SELECT value FROM meta WHERE name = 'version'").fetchone()
    except sqlite3.Error:
        found = None
    return str(found[0]) if found else "of an unknown version"


def _tables_3_to_4(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID")


def _tables_4_to_5(connection: sqlite3.Connection) -> None:
    """`applied` is what the file last said of the route; of earlier formats only its split is known.

    Times of rollouts were wall times. They are served times from now on, and `since_at` is the wall time.
    """
    connection.execute("ALTER TABLE route_state RENAME TO route_state_4")
    connection.execute(_ROUTE_STATE_5)
    connection.execute(
        "INSERT INTO route_state SELECT route, version, backends, slots, home, home_slots, "
        """'{"split":' || file_split || '}', rollouts, latched, NULL, evidence FROM route_state_4"""
    )
    connection.execute("DROP TABLE route_state_4")
    for route, rollouts in connection.execute("SELECT route, rollouts FROM route_state").fetchall():
        dated = {name: {**state, "since_at": state["since"]} for name, state in json.loads(rollouts).items()}
        connection.execute("UPDATE route_state SET rollouts = ? WHERE route = ?", (json.dumps(dated), route))


def _tables_5_to_6(connection: sqlite3.Connection) -> None:
    """Outcomes in order were booleans. They are numbers from now on, which also have the key. No version has had feedback."""
    for route, evidence in connection.execute("SELECT route, evidence FROM route_state").fetchall():
        numbered = msgspec.msgpack.encode(_with_numbers(msgspec.msgpack.decode(evidence)))
        connection.execute("UPDATE route_state SET evidence = ? WHERE route = ?", (numbered, route))


def _with_numbers(value: Any) -> Any:
    """The value with each list of booleans that is named `recent` as a list of numbers, and without `kpis`."""
    if isinstance(value, dict):
        return {
            name: [int(bad) for bad in part] if name == "recent" else _with_numbers(part)
            for name, part in value.items()
            if name != "kpis"
        }
    return [_with_numbers(part) for part in value] if isinstance(value, list) else value


def _tables_6_to_7(connection: sqlite3.Connection) -> None:
    """Evidence has the challenger's share by ledger version, as feedback comes after old strata were merged."""
    for route, evidence in connection.execute("SELECT route, evidence FROM route_state").fetchall():
        by_challenger = msgspec.msgpack.decode(evidence)
        for each in by_challenger.values():
            each["shares"] = {stratum["version"]: stratum["share"] for stratum in each.get("strata", ())}
        encoded = msgspec.msgpack.encode(by_challenger)
        connection.execute("UPDATE route_state SET evidence = ? WHERE route = ?", (encoded, route))


TABLES: dict[int, Callable[[sqlite3.Connection], None]] = {
    3: _tables_3_to_4,
    4: _tables_4_to_5,
    5: _tables_5_to_6,
    6: _tables_6_to_7,
}


# ── records of the journal ────────────────────────────────────────────────────────────────────────

Record = Mapping[str, Any]


def record_format(record: Record) -> int:
    """Records of format 3 do not name theirs."""
    return int(record.get("format", OLDEST))


def current_record(record: Record) -> Record:
    """The record as the current format would hold it. Raises ValueError, KeyError, TypeError or msgspec.ValidationError."""
    number = record_format(record)
    if not OLDEST <= number <= FORMAT:
        raise ValueError(f"a record of format {number}; this version knows formats {OLDEST} to {FORMAT}")
    for step in range(number, FORMAT):
        record = RECORDS[step](record)
    return record


class _Check3(msgspec.Struct):
    """A check as format 3 has it: as the YAML spelled it then."""

    metric: str
    quantile: float | None = None
    name: str | None = None
    query: str | None = None
    max: float | None = None
    min: float | None = None
    max_increase: float | None = None
    max_ratio: float | None = None
    min_increase: float | None = None


def _record_3_to_4(record: Record) -> Record:
    """A check has one `bound` and its `limit`, and its title."""
    evidence = record["evidence"]
    if "given" not in evidence:
        return record
    given = evidence["given"]
    plan = given["plan"]
    checks = [_check_3_to_4(msgspec.convert(check, _Check3)) for check in plan["checks"]]
    return {**record, "evidence": {**evidence, "given": {**given, "plan": {**plan, "checks": checks}}}}


def _check_3_to_4(check: _Check3) -> dict[str, Any]:
    bounds = ("max", "min", "max_increase", "max_ratio", "min_increase")
    bound = next((name for name in bounds if getattr(check, name) is not None), None)
    if bound is None:
        raise ValueError(f"a check of {check.metric} without a bound")
    limit = getattr(check, bound)
    title = _title_3(check, bound, limit)
    found = {"metric": check.metric, "bound": bound, "limit": limit, "title": title}
    rest = {"quantile": check.quantile, "name": check.name, "query": check.query}
    return found | {key: value for key, value in rest.items() if value is not None}


def _title_3(check: _Check3, bound: str, limit: float) -> str:
    """Format 3 kept evidence under this title, which the code made from the check."""
    subject = check.metric
    if check.metric == "latency" and check.quantile is not None:
        subject = f"p{check.quantile * 100:.10g} latency"
    elif check.metric in ("kpi", "prometheus"):
        subject = f"{check.metric} {check.name or check.query}"
    sign = "<=" if bound.startswith("max") else ">="
    if bound == "max_ratio":
        return f"{subject} {sign} {limit:.10g} x champion"
    text = f"{limit:.10g}"
    if check.metric in ("error_rate", "disagreement"):
        text = f"{limit * 100:.10g}%"
    elif check.metric == "latency":
        text = f"{limit * 1000:.10g}ms" if limit < 1 else f"{limit:.10g}s"
    return f"{subject} {sign} {'champion + ' if bound.endswith('increase') else ''}{text}"


def _record_4_to_5(record: Record) -> Record:
    """Formats up to 4 decided by wall time."""
    return {**record, "served": record["at"]}


def _record_5_to_6(record: Record) -> Record:
    """Other rules of verdicts, so a replay does not compute records of earlier formats (replay.RULES)."""
    return record


def _record_6_to_7(record: Record) -> Record:
    """No check of feedback was decided before, and what a record needs has not changed."""
    return record


RECORDS: dict[int, Callable[[Record], Record]] = {
    3: _record_3_to_4,
    4: _record_4_to_5,
    5: _record_5_to_6,
    6: _record_6_to_7,
}
