"""A check, asked of one thing, with its SQL: ready to be put to the database, or answered as skipped."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import Any

import psycopg
from psycopg import sql

from tenant_migration.config import MigrationConfig
from tenant_migration.integrity.check import BaseCheck, Remark, ScopeT, Verdict
from tenant_migration.integrity.model import CheckResult, Outcome
from tenant_migration.integrity.scope import TableScope
from tenant_migration.integrity.situation import Situation
from tenant_migration.integrity.targets import DatabaseTarget, RelationTarget, TableTarget, Target


@dataclass(frozen=True)
class Question:
    """What to execute for a check. Questions that read the same in the same way are put as one statement."""

    blank: CheckResult
    """The result without its outcome."""
    verdict: Verdict
    wrong_rows: sql.Composed | None
    shared: sql.Composable | None
    """Common table expressions that the verdict needs."""
    reads: Hashable
    """Equal for questions with the same `shared`; None: asked alone."""
    remark: Callable[[dict[str, Any]], Remark | None] = lambda details: None
    """What the details are worth saying."""


def blank_result(target: Target, config: MigrationConfig, tenants: tuple[str, ...] | None) -> CheckResult:
    """Return a result that says what was asked, as errored: what is never filled in is no pass."""
    check = target.check
    relation = target.relation if isinstance(target, RelationTarget) else None
    return CheckResult(
        name=check.name,
        phase=check.phase,
        table=None if isinstance(target, DatabaseTarget) else target.table.qualified_name,
        outcome=Outcome.ERRORED,
        severity=config.validation.severity.get(check.name, check.severity),
        description=check.description,
        rows_checked=0,
        count=0,
        duration_ms=0.0,
        column=", ".join(relation.child_columns) if relation else None,
        tenant_id=tenants[0] if tenants is not None and len(tenants) == 1 else None,
        reason="it was not run",
        recommendation=check.recommendation,
        examples_are_names=check.examples_are_names,
    )


def skipped(blank: CheckResult, reason: str) -> CheckResult:
    """Return the result of a check that is not asked."""
    return replace(blank, outcome=Outcome.SKIPPED, reason=reason)


def errored(blank: CheckResult, error: psycopg.Error, duration_ms: float = 0.0) -> CheckResult:
    """Return the result of a check that could not run."""
    reason = " ".join((error.diag.message_primary or str(error)).split())
    return replace(
        blank, outcome=Outcome.ERRORED, reason=reason, sqlstate=error.sqlstate, duration_ms=duration_ms
    )


def configured_skip(target: Target, config: MigrationConfig) -> str | None:
    """Return the reason that the configuration gives for not asking this, or None."""
    for skip in config.validation.skip:
        if skip.check != target.check.name:
            continue
        if skip.table is None:
            return skip.reason
        if not isinstance(target, DatabaseTarget) and skip.table in (
            target.table.qualified_name,
            target.table.table_name,
        ):
            return skip.reason
    return None


def prepare(target: Target, situation: Situation, blank: CheckResult) -> Question | CheckResult:
    """Turn a target into the question to put, or into its result when there is nothing to ask."""
    if isinstance(target, DatabaseTarget):
        database = situation.database(target.tables)
        blank = replace(blank, about=target.check.about(database))
        return _question(target.check, database, blank, situation.config, of=None)
    if isinstance(target, TableTarget):
        table = situation.table(target.table)
        blank = replace(blank, column=target.check.column(table))
        return _question(target.check, table, blank, situation.config, of=blank.table)
    if target.relation is None:
        return skipped(blank, "the table refers to no managed table")
    relation = situation.relation(target.relation, target.table)
    if isinstance(relation, psycopg.Error):
        return errored(blank, relation)
    return _question(target.check, relation, blank, situation.config, of=(blank.table, target.relation.name))


def _what_is_gone(check: BaseCheck[ScopeT], scope: ScopeT) -> str | None:
    """Return why a check that finds nothing to ask may have lost what it asks about, or None.

    Without its tenant key a table has no unique index with the key either; that must not count as one that
    never had any. A table of which nothing is recorded as migrated has nothing to verify either way, and one
    that is gone as a whole is said by the checks that read it.
    """
    if not isinstance(scope, TableScope) or not scope.facts.columns:
        return None
    if scope.table.tenant_column.name in scope.facts.columns:
        return None
    if check.phase != "pre-migration" and not scope.facts.recorded_pairs:
        return None
    return (
        f"column {scope.table.tenant_column.name} of {scope.table.qualified_name} does not exist any more; "
        "run `tenant-migration plan --write`"
    )


def _question(
    check: BaseCheck[ScopeT], scope: ScopeT, blank: CheckResult, config: MigrationConfig, *, of: Hashable
) -> Question | CheckResult:
    reason = check.not_applicable(scope)
    if reason is not None:
        gone = _what_is_gone(check, scope)
        if gone is not None:
            return replace(blank, reason=gone, sqlstate="42703")
        return skipped(blank, reason)
    if check.severity_in is not None and check.name not in config.validation.severity:
        blank = replace(blank, severity=check.severity_in(scope))
    return Question(
        blank=blank,
        verdict=check.build(scope),
        wrong_rows=check.wrong_rows(scope.for_a_person()) if check.wrong_rows else None,
        shared=check.source.build(scope) if check.source else None,
        reads=(check.source.name, of) if check.source else None,
        remark=check.remark,
    )
