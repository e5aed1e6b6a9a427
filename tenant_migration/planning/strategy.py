"""How the bulk pass walks a table, with the reason in a sentence."""

from __future__ import annotations

from tenant_migration.catalog.model import Index, Table
from tenant_migration.config import BuildIndex
from tenant_migration.planning.model import Strategy


def choose_strategy(table: Table, organization_column: str, build_index: BuildIndex) -> tuple[Strategy, str]:
    """Choose between HOT waves and ranges of pages.

    An UPDATE is HOT when no index but a summarizing one holds a changed column; then it costs 0.47x the CPU and
    0.54x the WAL of an UPDATE that maintains every index (performance.md P2b, P10). One index on the organization
    column, even an invalid one, ends that.
    """
    index = first_index_on(table, organization_column)
    if index is not None:
        return (
            Strategy.CTID_RANGES,
            f"index {index.name} holds {organization_column}, so no update can be HOT: ranges of pages, once",
        )
    if build_index == "early":
        return (
            Strategy.CTID_RANGES,
            f"build_index: early asks for the index on {organization_column} before the data: ranges of pages, once",
        )
    return (
        Strategy.HOT_WAVES,
        f"no index holds {organization_column}, so updates can be HOT: waves over windows of pages, "
        + (
            "the index waits for finalize"
            if build_index == "finalize"
            else "the index is built after the data"
        ),
    )


def first_index_on(table: Table, column: str) -> Index | None:
    """Return an index of the table or of a leaf that an update of the column must maintain."""
    indexes = [*table.indexes, *(index for leaf in table.leaves for index in leaf.indexes)]
    return next((index for index in indexes if column in index.mentions and not index.summarizing), None)
