"""Logical replication: what is published, and what would break."""

from __future__ import annotations

from collections.abc import Iterator

from tenant_migration.planning.hazards.context import TableContext, info, quoted, refuse, warn
from tenant_migration.planning.model import Hazard


def publications(context: TableContext) -> Iterator[Hazard]:
    """Refuse published tables that PostgreSQL would not update; warn of column lists; tell of the events."""
    table = context.table
    if not table.publications:
        return
    names = ", ".join(table.publications)
    without = [leaf.name for leaf in table.leaves if not leaf.foreign and not leaf.has_replica_identity]
    if without:
        first = quoted(without[0].schema, without[0].name)
        shown = ", ".join(str(name) for name in without[:10])
        yield refuse(
            "publication_without_replica_identity",
            f"published by {names}, but {shown} has no replica identity: UPDATE raises 55000",
            f"ALTER TABLE {first} REPLICA IDENTITY FULL, or USING INDEX a unique index, "
            "or take it out of the publication",
        )
    for publication, reason in table.refusing_publications:
        yield refuse(
            "publication_refuses_updates",
            f"publication {publication}: {reason}: UPDATE raises 42P10",
            "give the table a replica identity (an index) that has the columns, change the publication, or "
            "take the table out of it",
        )
    if table.column_list_publications:
        yield warn(
            "publication_column_list",
            f"publication {', '.join(table.column_list_publications)} names columns: subscribers do not get "
            f"{context.organization_column} unless it is named",
            "ALTER PUBLICATION ... SET TABLE with the new column, after adding it on the subscribers",
        )
    if not without and not table.refusing_publications:
        yield info(
            "published",
            f"each row that is written is a change event of {names}",
            "tell whoever reads the stream; the column must be there on subscribers before the first batch",
        )
