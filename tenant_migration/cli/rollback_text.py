"""The text of `rollback`: what will be undone, what became of each table, which rows were left alone.

Pure: values in, lines and tables out. `prefix` is the interface schema's, which tables are shown without.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich.table import Table

from tenant_migration.cli.output import plain_table, shown
from tenant_migration.integrity.model import Outcome
from tenant_migration.planning.counted import counted
from tenant_migration.recovery.results import LeftAlone
from tenant_migration.workflow.outcome import describe_blocking
from tenant_migration.workflow.rollback_outcome import RollbackOutcome
from tenant_migration.workflow.rollback_scope import RollbackScope

INDENT = "   "
_KEYS_SHOWN = 5
_TENANTS_SHOWN = 5
_REASONS = {
    "changed": "the application changed it since",
    "deleted": "not found under its key: the application deleted it since, or gave it another key",
    "failed": "the database refused it",
}


def before_lines(scope: RollbackScope, prefix: str, *, place: str) -> Iterator[str]:
    """Yield what will be undone, before anybody says yes.

    Args:
        scope: what was asked for, as it is in the database.
        prefix: see above.
        place: host, database and role.
    """
    yield f"{place[:1].upper()}{place[1:]}"
    tables = counted(len(scope.tables), "table")
    yield f"{INDENT}To take back: {counted(scope.rows_recorded, 'row')} in {tables}"
    for table in scope.tables:
        name = table.qualified_name
        yield f"{INDENT}{INDENT}{name.removeprefix(prefix):30}{scope.rows.get(name, 0):>12,}"
    yield f"{INDENT}Tenants: {_tenants(scope)}"
    source = "the journal of the migration" if scope.backup_id is None else f"backup {scope.backup_id}"
    yield f"{INDENT}Values from: {source}; what the application wrote since is left alone and listed"
    if scope.drop_created:
        yield f"{INDENT}Then dropped: the columns, indexes and keys that the migration created"


def _tenants(scope: RollbackScope) -> str:
    count = len(scope.tenants_with_rows)
    if not count:
        return "none"
    names = ", ".join(repr(tenant) for tenant in scope.tenants_with_rows[:_TENANTS_SHOWN])
    more = f" and {count - _TENANTS_SHOWN:,} more" if count > _TENANTS_SHOWN else ""
    return f"all {count:,} that are migrated: {names}{more}" if scope.tenants is None else f"{names}{more}"


def outcome_table(outcomes: Sequence[RollbackOutcome], prefix: str) -> Table:
    """Return what became of each table, with exact counts."""
    table = plain_table(
        "Table",
        "Result",
        "Restored",
        "Changed by the application",
        "Not found",
        "Failed",
        "Batches",
        "Seconds",
        "Rows/s",
        numbers_from=2,
    )
    for outcome in outcomes:
        result = outcome.result
        if result is None:
            table.add_row(outcome.table.removeprefix(prefix), outcome.state, *[""] * 7)
            continue
        table.add_row(
            outcome.table.removeprefix(prefix),
            outcome.state.replace("_", " "),
            f"{result.rows_restored:,}",
            f"{result.rows_changed:,}",
            f"{result.rows_deleted:,}",
            f"{result.rows_failed:,}",
            f"{result.batches:,}",
            f"{result.seconds:,.1f}",
            f"{result.rows_per_second:,.0f}",
        )
    return table


def left_alone_lines(outcomes: Sequence[RollbackOutcome], prefix: str) -> Iterator[str]:
    """Yield the first rows of each table that were not reset, and where all of them are."""
    results = [outcome.result for outcome in outcomes if outcome.result is not None]
    for result in results:
        count = result.rows_changed + result.rows_deleted + result.rows_failed
        if not count:
            continue
        were = "row was" if count == 1 else "rows were"
        yield f"{result.table.removeprefix(prefix)}: {count:,} {were} left alone, for example"
        yield from (f"{INDENT}{_left_alone(row)}" for row in result.left_alone[:_KEYS_SHOWN])
    if any(result.left_alone for result in results):
        runs = ", ".join(str(run) for run in sorted({result.run_id for result in results}))
        yield f"All of them: SELECT * FROM tenant_migration.left_alone WHERE run_id IN ({runs})"


def note_lines(outcomes: Sequence[RollbackOutcome], prefix: str) -> Iterator[str]:
    """Yield what the reader should know of each table, and what was dropped."""
    for outcome in outcomes:
        name = outcome.table.removeprefix(prefix)
        if outcome.result is not None:
            yield from (f"{name}: {note}" for note in outcome.result.notes)
        things = ", ".join(thing.removesuffix(f" on {outcome.table}") for thing in outcome.dropped)
        if things:
            yield f"{name}: dropped {things}"


def verification_lines(outcomes: Sequence[RollbackOutcome], prefix: str) -> Iterator[str]:
    """Yield what the comparison found, when it was asked for: a line a table, then what was not compared."""
    not_compared: dict[tuple[str, str | None], list[str]] = {}
    for outcome in outcomes:
        if not outcome.checks:
            continue
        name = outcome.table.removeprefix(prefix)
        said = describe_blocking(outcome.checks)
        passed = sum(check.outcome is Outcome.PASSED for check in outcome.checks)
        yield (
            f"{name}: verification FAILED: {said}"
            if said
            else f"{name}: verified, {counted(passed, 'check')} passed"
        )
        for check in outcome.checks:
            if check.outcome is Outcome.SKIPPED:
                not_compared.setdefault((check.name, check.reason), []).append(name)
            elif check.outcome is Outcome.FAILED and not check.blocks:
                yield f"{INDENT}{check.name}: {check.description}: {check.count:,}"
    yield from _not_compared_lines(not_compared, sum(bool(outcome.checks) for outcome in outcomes))


def _not_compared_lines(
    not_compared: Mapping[tuple[str, str | None], Sequence[str]], tables: int
) -> Iterator[str]:
    """Yield each check that did not run, once, with the reason and its tables."""
    by_reason: dict[tuple[str | None, tuple[str, ...]], list[str]] = {}
    for (check, reason), names in not_compared.items():
        by_reason.setdefault((reason, tuple(names)), []).append(check)
    for (reason, names), checks in by_reason.items():
        everywhere = len(names) == tables and tables > 1
        where = f"all {tables:,} tables" if everywhere else ", ".join(names)
        yield f"Not compared in {where}: {', '.join(checks)}: {reason}"


def unfinished_lines(outcomes: Sequence[RollbackOutcome], prefix: str) -> Iterator[str]:
    """Yield every table that is not rolled back, why, and the tenants that are not."""
    for outcome in outcomes:
        if outcome.state == "rolled_back":
            continue
        reason = outcome.reason or "no reason recorded"
        yield f"{outcome.table.removeprefix(prefix)}: {outcome.state}: {reason}"
        by_state: dict[str, list[str]] = {}
        for tenant, state in outcome.tenant_states.items():
            if state != "rolled_back":
                by_state.setdefault(state, []).append(tenant)
        for state, tenants in by_state.items():
            yield f"{INDENT}{state}: {', '.join(map(repr, sorted(tenants)))}"


def _left_alone(row: LeftAlone) -> str:
    key = ", ".join(f"{column}={shown(value)}" for column, value in row.row_key.items())
    now = f", now {row.found_value}" if row.found_value else ""
    message = f": {row.message}" if row.message else ""
    return f"{key} of tenant {row.tenant_id!r}: {_REASONS[row.reason]}{now}{message}"
