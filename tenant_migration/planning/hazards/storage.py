"""How and where the rows are kept."""

from __future__ import annotations

from collections.abc import Iterator

from tenant_migration.planning.hazards.context import TableContext, info, refuse
from tenant_migration.planning.model import Hazard


def foreign_storage(context: TableContext) -> Iterator[Hazard]:
    """Refuse rows that are on another server: there is no journal beside them."""
    foreign = [str(leaf.name) for leaf in context.table.leaves if leaf.foreign]
    if context.table.kind == "foreign":
        yield refuse(
            "foreign_table",
            "its rows are on another server, where no transaction of ours holds row and journal together",
            f"migrate it where it lives, and set tables.{context.name}.exclude: true here",
        )
    elif foreign:
        yield refuse(
            "foreign_partition",
            f"partitions on another server: {', '.join(foreign[:10])}",
            f"detach them for the migration, or set tables.{context.name}.exclude: true",
        )


def inheritance(context: TableContext) -> Iterator[Hazard]:
    """Refuse parents by inheritance: a statement on them reaches their children's rows too."""
    if context.table.has_inheritance_children:
        yield refuse(
            "inheritance_children",
            "other tables inherit from it, so a statement on it reaches their rows under equal ctids",
            f"ALTER TABLE child NO INHERIT {context.sql_name} for the migration, or make them partitions",
        )


def unlogged(context: TableContext) -> Iterator[Hazard]:
    """Tell of tables that a crash empties."""
    if context.table.persistence == "unlogged":
        yield info(
            "unlogged",
            "unlogged: a crash of the server empties it, while its journal stays",
            "nothing to do; after a crash `status` shows what the journal says, and the table is empty",
        )


def no_row_identity(context: TableContext) -> Iterator[Hazard]:
    """Tell of tables whose rows have no key."""
    if not context.table.row_identity and context.table.kind != "foreign":
        yield info(
            "no_row_identity",
            "no primary key and no unique NOT NULL index: rows are identified by their version "
            "(leaf, ctid, xmin)",
            "nothing to do; a row that the application changes later, or that VACUUM FULL or "
            "CLUSTER moves, can no longer be told apart, and a rollback leaves it and lists it",
        )
    elif not context.table.primary_key and context.table.kind != "foreign":
        yield info(
            "no_primary_key",
            f"no primary key; rows are known by the unique columns {', '.join(context.table.row_identity)}",
            "nothing to do",
        )
