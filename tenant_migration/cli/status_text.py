"""The text of `status`, in the layout that the users know. Pure: a status and characters in, lines out."""

from __future__ import annotations

import math
from collections.abc import Iterator

from tenant_migration.cli.output import Glyphs, duration
from tenant_migration.planning.counted import counted
from tenant_migration.planning.describe import bytes_as_text
from tenant_migration.workflow.status import PairFailure, RunningTable, Status

NAME_WIDTH = 30
BAR_CELLS = 30
INDENT = "   "


def status_lines(status: Status, characters: Glyphs, *, detailed: bool) -> Iterator[str]:
    """Yield the lines of the whole page."""
    yield f"{characters.status}Migration Status"
    yield ""
    yield from _statistics(status)
    if detailed and status.tables:
        yield ""
        yield from _tables(status, characters)
    yield from _section("Running:", [_running(table) for table in status.running])
    yield from _section("Failed or blocked:", [_failure(failure) for failure in status.failures])
    yield from _section("Waiting to be built:", list(status.waiting) if detailed else [])
    yield from _section("Notes:", list(_notes(status, detailed=detailed)))


def _statistics(status: Status) -> Iterator[str]:
    counts = status.counts
    yield "Overall Statistics:"
    yield f"{INDENT}Total mappings: {counts.total:,}"
    yield f"{INDENT}Pending: {counts.pending:,}"
    yield f"{INDENT}In Progress: {counts.in_progress:,}"
    yield f"{INDENT}Completed: {counts.completed:,}"
    yield f"{INDENT}Failed: {counts.failed:,}"
    yield f"{INDENT}Rolled Back: {counts.rolled_back:,}"
    yield f"{INDENT}Total Records: {counts.total_records:,}"


def _tables(status: Status, characters: Glyphs) -> Iterator[str]:
    yield "Table Progress:"
    yield ""
    for table in status.tables:
        yield progress_line(
            table.table_name, table.migrated_rows, table.total_rows, table.percentage, characters
        )
    yield ""
    yield progress_line("OVERALL", status.migrated_rows, status.total_rows, status.percentage, characters)


def progress_line(name: str, done: int, total: int, percent: float, characters: Glyphs) -> str:
    """Return one line: name, bar, percent and rows."""
    bar = progress_bar(percent, characters)
    return f"{INDENT}{name.ljust(NAME_WIDTH)} {bar} {_percent(percent, done, total)} ({done:,}/{total:,})"


def progress_bar(percent: float, characters: Glyphs) -> str:
    """Return a bar of 30 cells, half a cell rounded up."""
    filled = math.floor(percent * BAR_CELLS / 100 + 0.5)
    return characters.full * filled + characters.empty * (BAR_CELLS - filled)


def _percent(percent: float, done: int, total: int) -> str:
    # 9,999 of 10,000 rows are not 100.0 %: what is printed has to be true.
    return f"{percent if done >= total else min(percent, 99.9):.1f}%"


def _running(table: RunningTable) -> str:
    expected = "?" if table.rows_expected is None else f"{table.rows_expected:,}"
    parts = [f"{table.table_name}: {table.state}", f"{table.rows_migrated:,}/{expected} rows"]
    if table.rows_per_second is not None:
        parts.append(f"{table.rows_per_second:,.0f} rows/s")
    if table.eta_seconds is not None and table.alive:
        parts.append(f"about {duration(table.eta_seconds)} left")
    if table.reason:
        parts.append(table.reason)
    if not table.alive:
        parts.append("no sign of life: its process is gone, run `tenant-migration migrate` again to go on")
    return ", ".join(parts) + f" (run {table.run_id} by {table.actor})"


def _failure(failure: PairFailure) -> str:
    reason = failure.reason or "no reason recorded"
    return f"{failure.table_name}, tenant {failure.tenant_id!r}: {failure.state}: {reason}"


def _notes(status: Status, *, detailed: bool) -> Iterator[str]:
    if status.counts.total == 0:
        yield (
            "no mappings yet: `tenant-migration mappings --suggest` proposes some, "
            "`tenant-migration mappings --import FILE.csv` writes them"
        )
    if detailed and not status.has_plan:
        yield "no plan is stored, so no tables are shown: `tenant-migration plan --write`"
    if status.emergency_stop:
        yield "the emergency switch is on: no batch starts"
    for table in status.tables:
        if table.missing:
            yield f"{table.table_name} is not there any more: look with `tenant-migration plan`"
        if table.rows_unmapped:
            rows, tenants = counted(table.rows_unmapped, "row"), counted(table.unmapped_tenants, "tenant")
            examples = ", ".join(map(repr, table.unmapped_examples))
            yield f"{table.table_name}: {rows} of {tenants} without a mapping: {examples}"
    if detailed and status.journals_bytes + status.backups_bytes:
        journals, backups = bytes_as_text(status.journals_bytes), bytes_as_text(status.backups_bytes)
        yield f"journals {journals}, backups {backups}"


def _section(title: str, lines: list[str]) -> Iterator[str]:
    if lines:
        yield ""
        yield title
        yield from (f"{INDENT}{line}" for line in lines)
