"""What the engine reports: progress while it works, a result when a table is done. Values only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Progress:
    """Where one table stands. Sent after every batch."""

    table: str
    state: str
    rows_done: int
    """Rows written by this run so far."""
    rows_expected: int
    """Rows that had a mapping and no organization when the table started; never less than `rows_done`."""
    batch_rows: int
    batch_ms: float
    reason: str | None = None
    """Why it waits, when it waits."""

    @property
    def percent(self) -> float:
        """0 to 100; a table with nothing to do is at 100."""
        return 100.0 if self.rows_expected == 0 else min(100.0, 100.0 * self.rows_done / self.rows_expected)


ProgressCallback = Callable[[Progress], None]


@dataclass(frozen=True)
class Selection:
    """What a run is asked for. None: all of them."""

    tables: Sequence[str] | None = None
    tenants: Sequence[str] | None = None


@dataclass(frozen=True)
class QuarantinedRow:
    """A row that could not be written, with the reason the database gave."""

    tenant_id: str
    row_key: dict[str, str]
    sqlstate: str
    constraint: str | None
    message: str


@dataclass(frozen=True)
class TableResult:
    """One table's part of a run, before verification."""

    table: str
    run_id: int
    strategy: str
    rows_expected: int
    rows_migrated: int
    rows_kept: int
    rows_remaining: int
    """Rows that have a mapping and still no organization, quarantined ones left out; 0 or the table
    failed."""
    rows_quarantined: int
    rows_hot: int
    batches: int
    sweeps: int
    seconds: float
    rows_by_tenant: dict[str, int] = field(default_factory=dict)
    """Rows written by this run for each tenant; tenants in scope without rows are there with 0."""
    quarantined: tuple[QuarantinedRow, ...] = ()
    """At most ten; the count is exact."""
    created: tuple[str, ...] = ()
    """Objects this run created, as sentences: `index claims_organization_id_idx`."""
    waiting: tuple[str, ...] = ()
    """Structure that is not built yet and what it waits for."""
    resumed: bool = False
    """Whether the bulk pass continued where an earlier run had stopped."""

    @property
    def rows_per_second(self) -> float:
        """Rows written for each second of the table's run, waits included."""
        return self.rows_migrated / self.seconds if self.seconds > 0 else 0.0

    @property
    def hot_share(self) -> float:
        """Share of the row versions that were HOT, 0 to 1."""
        return self.rows_hot / self.rows_migrated if self.rows_migrated else 0.0


@dataclass(frozen=True)
class DryRunTable:
    """What a real run would do to one table. Nothing was changed to find out."""

    table: str
    rows_to_migrate: int
    rows_to_keep: int
    rows_null_tenant: int
    rows_allowed_unmapped: int
    rows_unmapped: int
    rows_already_done: int
    rows_by_tenant: dict[str, int]
    statements: tuple[str, ...]
    """DDL that would run, in order."""
    estimated_wal_bytes: int
    estimated_heap_growth_bytes: int
    estimated_seconds: float
    refusals: tuple[str, ...]
    """Why the real run would not start; empty: it would start now."""
