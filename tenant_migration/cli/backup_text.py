"""The text of `backup`: what was copied, what there is, what a cleanup did. Pure: values in, lines out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.table import Table

from tenant_migration.cli.output import duration, plain_table, shown
from tenant_migration.planning.counted import counted
from tenant_migration.planning.describe import bytes_as_text
from tenant_migration.recovery.results import Backup, Cleanup

INDENT = "   "
_TENANTS_SHOWN = 3
_DAY_S = 86_400


def tables_of(backup: Backup, prefix: str) -> Table:
    """Return a backup's tables, without the prefix of the interface schema."""
    table = plain_table("Table", "Verified", "Rows", "Size", numbers_from=2)
    for part in backup.tables:
        verified = "yes" if part.verified else "NO"
        table.add_row(
            part.table.removeprefix(prefix), verified, f"{part.rows:,}", bytes_as_text(part.size_bytes)
        )
    return table


def lines_of(backup: Backup) -> Iterator[str]:
    """Yield what there is to say of a backup that was just made."""
    yield (
        f"{INDENT}{counted(len(backup.tables), 'table')}, {counted(backup.rows, 'row')}, "
        f"{bytes_as_text(backup.size_bytes)}, tenants: {tenants_of(backup)}"
    )
    yield f"{INDENT}Space: {backup.space}"
    if backup.directory is not None:
        yield f"{INDENT}Exported to {backup.directory}"


def listing(backups: Sequence[Backup]) -> Table:
    """Return every backup, the newest last, and what a cleanup would do with it."""
    table = plain_table(
        "ID", "Created", "Age", "State", "Held by", "Tenants", "Tables", "Rows", "Size", numbers_from=6
    )
    table.add_column("A cleanup would", overflow="fold")
    for backup in sorted(backups, key=lambda one: one.backup_id):
        table.add_row(
            str(backup.backup_id),
            backup.created_at.isoformat(sep=" ", timespec="seconds"),
            age_of(backup),
            state_of(backup),
            shown(backup.held_by) if backup.held_by else "",
            tenants_of(backup),
            f"{len(backup.tables):,}",
            f"{backup.rows:,}",
            bytes_as_text(backup.size_bytes),
            f"keep it: {backup.kept_because}" if backup.kept_because else "drop it",
        )
    return table


def sum_of(backups: Sequence[Backup]) -> str:
    """Return one line for all of them."""
    usable = sum(backup.verified for backup in backups)
    size = bytes_as_text(sum(backup.size_bytes for backup in backups))
    if len(backups) == 1:
        return f"1 backup, {'complete and verified' if usable else 'NOT verified'}, {size}"
    return f"{len(backups):,} backups, {usable:,} of them complete and verified, {size} in all"


def cleanup_lines(cleanup: Cleanup) -> Iterator[str]:
    """Yield what went, what stayed and why."""
    for backup in cleanup.dropped:
        size = bytes_as_text(backup.size_bytes)
        yield f"Dropped backup {backup.backup_id}: {counted(backup.rows, 'row')}, {size}"
    for backup in cleanup.kept:
        yield f"Kept backup {backup.backup_id}: {backup.kept_because}"
    yield (
        f"{counted(len(cleanup.dropped), 'backup')} dropped, {len(cleanup.kept):,} kept, "
        f"{counted(cleanup.journal_batches_pruned, 'closed batch', 'closed batches')} of the journal pruned"
    )


def state_of(backup: Backup) -> str:
    """Return whether it can be relied on."""
    if not backup.complete:
        return backup.state
    return "verified" if backup.verified else "complete, NOT verified"


def tenants_of(backup: Backup) -> str:
    """Return whose rows it has."""
    if backup.tenants is None:
        return "all"
    names = ", ".join(shown(tenant) for tenant in backup.tenants[:_TENANTS_SHOWN])
    more = len(backup.tenants) - _TENANTS_SHOWN
    return f"{names} and {more:,} more" if more > 0 else names


def age_of(backup: Backup) -> str:
    """Return its age by the database's clock."""
    seconds = max(0.0, backup.age.total_seconds())
    return duration(seconds) if seconds < _DAY_S else f"{seconds / _DAY_S:,.1f} days"
