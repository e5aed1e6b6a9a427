"""Reads the audit log, and says whether it is whole. Writes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from tenant_migration.database.audit_chain import Anchor, Chain, check_chain, missing
from tenant_migration.database.connection import transaction
from tenant_migration.database.install import require_installed
from tenant_migration.errors import UsageError
from tenant_migration.workflow.audit_anchors import AnchorLine, KeptAnchors, read_anchors

ANCHOR_KEY = "auditAnchor"
"""Where a report has the anchor of its moment: {"entries": n, "head": hash}."""


@dataclass(frozen=True)
class Entry:
    """One row of the log."""

    seq: int
    occurred_at: datetime
    operation: str
    actor: str
    database_role: str
    run_id: int | None
    table_name: str | None
    tenant_id: str | None
    outcome: str
    counts: dict[str, Any]
    duration_ms: int | None
    detail: dict[str, Any]
    tool_version: str | None
    hash: str


@dataclass(frozen=True)
class Filter:
    """Which rows; each given condition has to hold."""

    tenants: tuple[str, ...] = ()
    """Rows about one of them alone, or that name one among several."""
    tables: tuple[str, ...] = ()
    """`schema.table`, or `table` in any schema; as `tenants`."""
    operations: tuple[str, ...] = ()
    """`migrate` means `migrate table` too."""
    since: datetime | None = None
    until: datetime | None = None
    """Not including."""


@dataclass(frozen=True)
class Verification:
    """What stands for and against the log."""

    chain: Chain
    kept: KeptAnchors
    problems: tuple[str, ...]
    """Empty: it is whole, as far as the anchors reach."""
    notes: tuple[str, ...]


_COLUMNS = sql.SQL(", ").join(sql.Identifier(name) for name in Entry.__dataclass_fields__)


def read_entries(
    connection: psycopg.Connection, wanted: Filter, *, limit: int | None = None
) -> tuple[list[Entry], int]:
    """Return the newest matching rows, oldest first, and how many match.

    Raises:
        NotInstalled: there is no log.
    """
    require_installed(connection)
    where, parameters = _conditions(wanted)
    source = sql.SQL("FROM tenant_migration.migration_audit_log WHERE {}").format(where)
    with transaction(
        connection, read_only=True, row_security=True, isolation="repeatable read", statement_timeout_ms=0
    ):
        [(total,)] = connection.execute(sql.SQL("SELECT count(*) {}").format(source), parameters)
        with connection.cursor(row_factory=class_row(Entry)) as cursor:
            newest = cursor.execute(
                sql.SQL("SELECT {} {} ORDER BY seq DESC LIMIT %(limit)s").format(_COLUMNS, source),
                {**parameters, "limit": limit},
            ).fetchall()
    return newest[::-1], int(total)


def verify_log(connection: psycopg.Connection, *, reports: Iterable[Path] = ()) -> Verification:
    """Check every seal, and that every anchor kept outside of the database is still in the log.

    Args:
        connection: to the database.
        reports: report files of this database whose anchors count too.

    Raises:
        NotInstalled: there is no log.
        UsageError: a report cannot be read, or has no anchor.
    """
    of_reports = [AnchorLine(f"report {path}", anchor_of_report(path)) for path in reports]
    require_installed(connection)
    chain = check_chain(connection)
    kept = read_anchors(connection)
    lines = [*kept.lines, *of_reports]
    problems = []
    if chain.first_bad_seq is not None:
        problems.append(
            f"entry {chain.first_bad_seq} is the first whose seal is broken: it, or an entry next to it, was "
            "changed, deleted or put in by hand"
        )
    absent = missing(connection, list({line.anchor for line in lines}))
    if absent:
        problems.append(_sentence(chain.anchor, absent, lines))
    problems += [
        f"line {number} of {kept.path} cannot be read: an anchor is lost" for number in kept.unreadable
    ]
    return Verification(chain, kept, tuple(problems), tuple(_notes(kept, lines)))


def anchor_of_report(path: Path) -> Anchor:
    """Return the anchor that a JSON report holds.

    Raises:
        UsageError: there is none.
    """
    try:
        anchor = json.loads(path.read_text(encoding="utf-8"))[ANCHOR_KEY]
        return Anchor(int(anchor["entries"]), str(anchor["head"]))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{path} is no JSON report with an {ANCHOR_KEY}: `validate --export FILE.json` writes one"
        ) from error


def _conditions(wanted: Filter) -> tuple[sql.Composed, dict[str, Any]]:
    conditions = [sql.SQL("true")]
    if wanted.tenants:
        conditions.append(
            sql.SQL("(tenant_id = ANY (%(tenants)s::text[]) OR detail -> 'tenants' ?| %(tenants)s::text[])")
        )
    if wanted.tables:
        conditions.append(
            sql.SQL(
                "(table_name ~~ ANY (%(table_patterns)s::text[])"
                " OR EXISTS (SELECT FROM jsonb_array_elements_text("
                "CASE jsonb_typeof(detail -> 'tables') WHEN 'array' THEN detail -> 'tables' ELSE '[]' END)"
                " AS named (name) WHERE named.name ~~ ANY (%(table_patterns)s::text[])))"
            )
        )
    if wanted.operations:
        conditions.append(
            sql.SQL(
                "EXISTS (SELECT FROM unnest(%(operations)s::text[]) AS asked (name)"
                " WHERE operation = asked.name OR starts_with(operation, asked.name || ' '))"
            )
        )
    if wanted.since is not None:
        conditions.append(sql.SQL("occurred_at >= %(since)s"))
    if wanted.until is not None:
        conditions.append(sql.SQL("occurred_at < %(until)s"))
    parameters = {
        "tenants": list(wanted.tenants),
        "table_patterns": [
            pattern
            for table in wanted.tables
            for pattern in ([_literal(table)] if "." in table else [_literal(table), f"%.{_literal(table)}"])
        ],
        "operations": list(wanted.operations),
        "since": wanted.since,
        "until": wanted.until,
    }
    return sql.SQL(" AND ").join(conditions), parameters


def _literal(text: str) -> str:
    """Return a text as a LIKE pattern that matches it alone."""
    return text.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")


def _sentence(now: Anchor, absent: list[tuple[Anchor, str | None]], lines: list[AnchorLine]) -> str:
    first, hash_now = absent[0]
    where = next(line.at for line in lines if line.anchor == first)
    known = f"entry {first.entries} as it was known at {where}"
    more = f", and {len(absent) - 1} anchors after it" if len(absent) > 1 else ""
    if hash_now is None:
        return (
            f"the log ends at entry {now.entries} and does not hold {known}{more}: its tail was cut, the "
            "database was brought back to an earlier moment, or the log was uninstalled"
        )
    return f"the log has another {known}{more}: it was written anew from there or from before"


def _notes(kept: KeptAnchors, lines: list[AnchorLine]) -> Iterable[str]:
    if not lines:
        yield (
            f"No anchor of this database is kept in {kept.path}: that the newest entries were deleted could "
            "not be seen."
        )
    if kept.earlier:
        last = kept.earlier[-1]
        began = kept.lines[0].at if kept.lines else "an unknown time"
        yield (
            f"An earlier log of this database had {last.anchor.entries} entries at {last.at}; this one was "
            f"installed at {began}."
        )
