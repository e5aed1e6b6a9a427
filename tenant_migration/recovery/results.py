"""What taking back reports: values only."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

Reason = Literal["changed", "deleted", "failed"]


@dataclass(frozen=True)
class LeftAlone:
    """A row that a rollback did not reset, and why."""

    tenant_id: str
    row_key: dict[str, str]
    reason: Reason
    """`changed`: the application wrote the organization since; `deleted`: the row is gone; `failed`: the
    database refused the reset."""
    found_value: str | None
    """The organization that the row has now."""
    message: str | None = None
    """What the database said, of `failed`."""


@dataclass(frozen=True)
class RollbackResult:
    """One table's part of a rollback. Always: expected = restored + changed + deleted + failed."""

    table: str
    run_id: int
    rows_expected: int
    """Entries of the journal that were open, in scope, when the table started."""
    rows_restored: int
    rows_changed: int
    rows_deleted: int
    rows_failed: int
    batches: int
    """Transactions that reset rows."""
    seconds: float
    restored_by_tenant: dict[str, int] = field(default_factory=dict)
    changed_by_tenant: dict[str, int] = field(default_factory=dict)
    deleted_by_tenant: dict[str, int] = field(default_factory=dict)
    failed_by_tenant: dict[str, int] = field(default_factory=dict)
    left_alone: tuple[LeftAlone, ...] = ()
    """At most ten samples; the counts are exact and `tenant_migration.left_alone` has all of them."""
    left_alone_by_tenant: dict[str, tuple[LeftAlone, ...]] = field(default_factory=dict)
    """At most ten samples of each tenant."""
    notes: tuple[str, ...] = ()
    """What the reader should know, as sentences."""

    @property
    def rows_per_second(self) -> float:
        """Rows restored for each second of the table's rollback, waits included."""
        return self.rows_restored / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True)
class PreviousValues:
    """A backup's relation as the source of the values to bring back, instead of the journal's own."""

    backup_id: int
    relation: str
    """Bare name in schema `tenant_migration`."""
    by_backup_column: bool
    """Whether the relation holds rows of several backups (`tenant_migration_backup_id`)."""
    has_organization: bool = True
    """Whether the table had its organization column when it was backed up; else no row had a value."""
    journal_batch_id: int = 0
    """Newest batch of the table's journal in the backup's snapshot. What was written by then, the backup
    holds itself: of those entries the journal's own value is brought back."""


@dataclass(frozen=True)
class BackedUpTable:
    """One table of a backup."""

    table: str
    table_id: int
    relation: str
    rows: int
    size_bytes: int
    checksum: str
    """Of the source, in the backup's snapshot: an order-independent sum over every column."""
    verified: bool
    """Whether the copy, read back, had the same checksum and number of rows, and lost no column since."""
    backup_column: str | None = None
    """The relation's column with the backup's number; None: the relation is this backup's alone."""
    journal_batch_id: int | None = None
    """The last batch of the table's journal that the snapshot has; None: there was no journal."""
    checksum_formula: int = 1
    """How `checksum` was computed: `backups.columns.CHECKSUM_FORMULA` of the release that made it."""
    missing: bool = False
    """Whether somebody else dropped the relation."""


@dataclass(frozen=True)
class Backup:
    """A backup as the manifest has it."""

    backup_id: int
    state: Literal["creating", "complete", "failed", "dropped"]
    tables: tuple[BackedUpTable, ...]
    tenants: tuple[str, ...] | None
    """None: whole tables."""
    created_at: datetime
    finished_at: datetime | None
    age: timedelta
    """By the database's clock."""
    created_by: str
    tool_version: str
    lsn: str
    snapshot: str
    held_by: str | None
    directory: str | None
    """Where it was exported to."""
    space: str
    """What was known of the space beforehand: numbers, or `not checked`."""
    kept_because: str | None = None
    """Why a cleanup would keep it; None: it would drop it."""

    @property
    def complete(self) -> bool:
        """Whether everything that it names was copied."""
        return self.state == "complete"

    @property
    def verified(self) -> bool:
        """Whether every table's copy was read back and is equal."""
        return self.complete and all(table.verified for table in self.tables)

    @property
    def rows(self) -> int:
        """Rows of all its tables."""
        return sum(table.rows for table in self.tables)

    @property
    def size_bytes(self) -> int:
        """Bytes of all its tables; of a relation that several backups share, its part by rows."""
        return sum(table.size_bytes for table in self.tables)


@dataclass(frozen=True)
class Cleanup:
    """What a cleanup did, or would do."""

    dropped: tuple[Backup, ...]
    kept: tuple[Backup, ...]
    """Each with `kept_because`."""
    journal_batches_pruned: int = 0
    dry_run: bool = False
