"""Row security that would hide rows from the connected role: 0 rows, no error (R1)."""

from __future__ import annotations

from collections.abc import Iterator

from tenant_migration.catalog.model import Table
from tenant_migration.planning.hazards.context import DatabaseContext, TableContext, info, quoted, refuse
from tenant_migration.planning.model import Hazard


def row_security(context: TableContext) -> Iterator[Hazard]:
    """Refuse a table whose policies filter the connected role, and one whose managed parent is filtered."""
    role = context.database.catalog.server.role
    if context.table.row_security_active:
        yield refuse(
            "row_security_active", _detail(context.table, role), _way_out(context.database, context.table)
        )
    elif context.table.row_security:
        yield info(
            "row_security_bypassed",
            f"row security is on; role {role} is not filtered by it",
            "nothing to do; policies that name the tenant key are listed with the database's hazards",
        )
    managed = context.database.managed_tables
    parents = {key.parent for key in context.foreign_keys if key.parent != context.managed.name}
    for parent in sorted(parents & managed.keys()):
        if managed[parent].row_security_active:
            yield refuse(
                "row_security_active_on_parent",
                f"its parent {parent} is read by the checks: {_detail(managed[parent], role)}",
                _way_out(context.database, managed[parent]),
            )


def row_security_of_organizations(context: DatabaseContext) -> Iterator[Hazard]:
    """Refuse when the organizations themselves would be filtered."""
    table = context.organizations.table
    if table is not None and table.row_security_active:
        yield refuse(
            "row_security_active_on_organizations",
            _detail(table, context.catalog.server.role),
            _way_out(context, table),
        )


def _detail(table: Table, role: str) -> str:
    policies = ", ".join(policy.name for policy in table.policies) or "none, so nothing is visible"
    forced = "forced" if table.row_security_forced else "on"
    state = f"row security of {table.name} is {forced} and would hide rows from role {role}"
    return f"{state} (policies: {policies})"


def _way_out(context: DatabaseContext, table: Table) -> str:
    return (
        "connect as a role that bypasses row security; a superuser makes one with: "
        f"CREATE ROLE tenant_migration_runner LOGIN BYPASSRLS IN ROLE {quoted(table.owner)}; "
        f"or gives it to this one: ALTER ROLE {quoted(context.catalog.server.role)} BYPASSRLS"
    )
