"""The index by which the rows of one tenant, or of one organization, are found."""

from __future__ import annotations

from tenant_migration.catalog.model import Table


def leading_index(table: Table, column: str) -> str | None:
    """Return a valid index that leads with the column and holds every row, or None."""
    usable = [
        index.name
        for index in table.indexes
        if index.valid
        and not index.partial
        and index.method in ("btree", "hash")
        and index.columns[:1] == (column,)
    ]
    return min(usable, default=None)
