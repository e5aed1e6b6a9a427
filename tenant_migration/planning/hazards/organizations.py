"""The table of organizations."""

from __future__ import annotations

from collections.abc import Iterator

from tenant_migration.planning.hazards.context import DatabaseContext, info, quoted, refuse
from tenant_migration.planning.model import Hazard
from tenant_migration.planning.names import nearest_column


def organizations_table(context: DatabaseContext) -> Iterator[Hazard]:
    """Refuse a database whose organizations cannot be referred to by a uuid."""
    configured, table = context.config.organizations, context.organizations.table
    if table is None:
        yield refuse(
            "organizations_missing",
            f"the table of organizations, {configured.table!r}, does not exist"
            f"{context.discovery.names.hint(configured.table)}",
            "create it with a uuid key, or name the one there is with organizations.table",
        )
        return
    column = table.column(configured.id)
    columns = [column.name for column in table.columns]
    if column is None:
        yield refuse(
            "organizations_id_missing",
            f"{table.name} has no column {configured.id!r}{nearest_column(configured.id, columns)}",
            "name its key with organizations.id",
        )
        return
    if column.base_type != "pg_catalog.uuid":
        yield refuse(
            "organizations_id_type",
            f"{table.name}.{column.name} is {column.type_sql}; an organization's id must be a uuid",
            "add a unique uuid column to it and name that with organizations.id",
        )
    if not any(
        index.unique
        and index.valid
        and index.immediate
        and not index.partial
        and index.columns == (column.name,)
        for index in table.indexes
    ):
        yield refuse(
            "organizations_id_not_unique",
            f"no primary key or unique index, checked at once, says that {table.name}.{column.name} is "
            "unique: nothing can refer to it",
            "CREATE UNIQUE INDEX CONCURRENTLY ON "
            f"{quoted(table.name.schema, table.name.name)} ({quoted(column.name)})",
        )


def organizations_rights(context: DatabaseContext) -> Iterator[Hazard]:
    """Refuse when the role may not read or refer to the organizations."""
    table = context.organizations.table
    if table is None:
        return
    missing = [
        right for right, has in (("SELECT", table.can_read), ("REFERENCES", table.can_reference)) if not has
    ]
    if missing:
        yield refuse(
            "organizations_no_right",
            f"role {context.catalog.server.role} has no right to {' and '.join(missing)} on {table.name}",
            f"GRANT {', '.join(missing)} ON {quoted(table.name.schema, table.name.name)} "
            f"TO {quoted(context.catalog.server.role)}",
        )


def organizations_active_column(context: DatabaseContext) -> Iterator[Hazard]:
    """Refuse a column for active organizations that is not there or says neither yes nor no."""
    name, table = context.config.organizations.active, context.organizations.table
    if name is None or table is None:
        return
    column = table.column(name)
    if column is None:
        columns = [column.name for column in table.columns]
        yield refuse(
            "organizations_active_missing",
            f"{table.name} has no column {name!r}{nearest_column(name, columns)}",
            "name it with organizations.active, or leave that out",
        )
    elif column.base_type != "pg_catalog.bool":
        yield refuse(
            "organizations_active_type",
            f"{table.name}.{name} is {column.type_sql}; whether an organization is active must be a boolean",
            "add a generated boolean column and name that with organizations.active, or leave it out",
        )


def organizations_optional_columns(context: DatabaseContext) -> Iterator[Hazard]:
    """Tell of the optional columns that the table does not have, and of what does not happen without them."""
    configured, ref, table = (
        context.config.organizations,
        context.organizations.ref,
        context.organizations.table,
    )
    if table is None:
        return
    columns = [column.name for column in table.columns]
    for key, name, resolved, consequence in (
        ("parent_id", configured.parent_id, ref.parent_id_column, "the hierarchy is not checked"),
        ("slug", configured.slug, ref.slug_column, "`mappings --suggest` does not compare it"),
        ("name", configured.name, ref.name_column, "`mappings --suggest` does not compare it"),
    ):
        if name is not None and resolved is None:
            yield info(
                "organizations_column_missing",
                f"{table.name} has no column {name!r}: {consequence}{nearest_column(name, columns)}",
                f"name it with organizations.{key}" + ("" if key == "parent_id" else ", or set it to null"),
            )
