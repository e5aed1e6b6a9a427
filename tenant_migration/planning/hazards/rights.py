"""What the connected role may do."""

from __future__ import annotations

from collections.abc import Iterator

from tenant_migration.planning.hazards.context import TableContext, quoted, refuse
from tenant_migration.planning.leading_index import leading_index
from tenant_migration.planning.model import Hazard


def rights(context: TableContext) -> Iterator[Hazard]:
    """Refuse a table that the role may not read or write, or may not change in structure where it must."""
    table, role = context.table, context.database.catalog.server.role
    if table.kind == "foreign":
        return
    missing = [right for right, has in (("SELECT", table.can_read), ("UPDATE", table.can_write)) if not has]
    if missing:
        yield refuse(
            "no_right",
            f"role {role} has no right to {' and '.join(missing)}",
            f"connect as {table.owner} or an inheriting member of it, or GRANT {', '.join(missing)} ON "
            f"{context.sql_name} TO {quoted(role)}",
        )
    ddl = _needed_ddl(context)
    if ddl and not table.is_owner:
        yield refuse(
            "not_owner",
            f"role {role} does not own the table (owner {table.owner}), which is needed to "
            f"{' and '.join(ddl)}",
            f"connect as {table.owner} or an inheriting member of it, or have the owner do it beforehand",
        )
    elif "build the index" in ddl and not table.can_create_in_schema:
        yield refuse(
            "no_right_to_create",
            f"role {role} may not create an index in schema {context.managed.name.schema}",
            f"GRANT CREATE ON SCHEMA {quoted(context.managed.name.schema)} TO {quoted(role)}, "
            "or build the index beforehand",
        )


def _needed_ddl(context: TableContext) -> list[str]:
    needed = []
    if context.existing_column is None:
        needed.append("add the organization column")
    if context.settings.build_index != "finalize":
        if leading_index(context.table, context.organization_column) is None:
            needed.append("build the index")
        organizations = context.database.organizations.table
        if not any(
            organizations
            and key.parent == organizations.name
            and key.child_columns == (context.organization_column,)
            for key in context.foreign_keys
        ):
            needed.append("declare the foreign key")
    return needed
