"""Adds the foreign key of the organization column without a long lock: NOT VALID first, validated afterwards.

Before PostgreSQL 18 a partitioned table takes no NOT VALID foreign key (H16): each leaf gets its own,
validated, and the root's then takes them over without looking at the rows again.
"""

from __future__ import annotations

import psycopg
from psycopg import sql

from tenant_migration.backfill import failpoints
from tenant_migration.backfill.leaves import read_leaves
from tenant_migration.backfill.structure import created_objects
from tenant_migration.backfill.structure.names import object_name
from tenant_migration.backfill.work import Work
from tenant_migration.catalog.model import TableName
from tenant_migration.database.connection import transaction
from tenant_migration.errors import OperationFailed
from tenant_migration.planning.model import OrganizationsRef, TablePlan

_NOT_VALID_ON_PARTITIONED = 180000

_KEYS = """
SELECT k.conname::text, k.convalidated
FROM pg_constraint AS k
JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND a.attname = %(column)s
WHERE k.contype = 'f' AND k.conrelid = %(child)s::regclass AND k.confrelid = %(parent)s::regclass
  AND k.conkey = ARRAY[a.attnum]
ORDER BY k.convalidated DESC, k.conname"""


def _regclass(name: TableName) -> str:
    return sql.Identifier(name.schema, name.name).as_string()


def _foreign_keys(
    connection: psycopg.Connection, table: TablePlan, on: TableName, organizations: OrganizationsRef
) -> list[tuple[str, bool]]:
    """Return name and validity of the foreign keys from the organization column to the organizations."""
    return connection.execute(
        _KEYS,
        {
            "column": table.organization_column,
            "child": _regclass(on),
            "parent": _regclass(TableName(organizations.schema_name, organizations.table_name)),
        },
    ).fetchall()


def foreign_key_exists(
    connection: psycopg.Connection, table: TablePlan, organizations: OrganizationsRef
) -> bool:
    """Say whether a validated foreign key leads from the organization column to the organizations."""
    return any(valid for _, valid in _foreign_keys(connection, table, table.name, organizations))


def add_foreign_key_statement(
    table: TablePlan, on: TableName, name: str, organizations: OrganizationsRef, *, not_valid: bool
) -> sql.Composed:
    """Build the statement."""
    return sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} FOREIGN KEY ({}) REFERENCES {} ({}){}").format(
        sql.Identifier(on.schema, on.name),
        sql.Identifier(name),
        sql.Identifier(table.organization_column),
        sql.Identifier(organizations.schema_name, organizations.table_name),
        sql.Identifier(organizations.id_column),
        sql.SQL(" NOT VALID" if not_valid else ""),
    )


def validate_statement(on: TableName, name: str) -> sql.Composed:
    """Build the statement."""
    return sql.SQL("ALTER TABLE {} VALIDATE CONSTRAINT {}").format(
        sql.Identifier(on.schema, on.name), sql.Identifier(name)
    )


def missing_foreign_keys(
    connection: psycopg.Connection, table: TablePlan, organizations: OrganizationsRef
) -> list[sql.Composed]:
    """Return the statements that `ensure_foreign_key` would add and validate it with. Reads only."""
    statements: list[sql.Composed] = []
    leaf_by_leaf = _leaf_by_leaf(connection, table)
    relations = [leaf.name for leaf in read_leaves(connection, table)] if leaf_by_leaf else []
    for on in [*relations, table.name]:
        found = _foreign_keys(connection, table, on, organizations)
        if any(valid for _, valid in found):
            continue
        not_valid = on in relations or not leaf_by_leaf
        name = found[0][0] if found else object_name(on.name, table.organization_column, "fkey")
        if not found:
            statements.append(add_foreign_key_statement(table, on, name, organizations, not_valid=not_valid))
        if found or not_valid:
            statements.append(validate_statement(on, name))
    return statements


def _leaf_by_leaf(connection: psycopg.Connection, table: TablePlan) -> bool:
    return table.partitioned and connection.info.server_version < _NOT_VALID_ON_PARTITIONED


def ensure_foreign_key(work: Work) -> None:
    """Add and validate the foreign key.

    Raises:
        OperationFailed: rows name an organization that does not exist (values that were there before).
    """
    connection = work.session.connection
    leaf_by_leaf = _leaf_by_leaf(connection, work.table)
    if leaf_by_leaf:
        for leaf in read_leaves(connection, work.table):
            _ensure_on(work, leaf.name, not_valid=True)
    _ensure_on(work, work.table.name, not_valid=not leaf_by_leaf)


def _ensure_on(work: Work, on: TableName, *, not_valid: bool) -> None:
    connection = work.session.connection
    found = _foreign_keys(connection, work.table, on, work.plan.organizations)
    if any(valid for _, valid in found):
        return
    if found:
        _validate(work, on, found[0][0])
        return
    name = object_name(on.name, work.table.organization_column, "fkey")
    statement = add_foreign_key_statement(work.table, on, name, work.plan.organizations, not_valid=not_valid)
    made = created_objects.Object("foreign_key", on.schema, name, on, statement.as_string(connection))
    object_id = created_objects.register(connection, made, table_id=work.table_id, run_id=work.run.run_id)
    failpoints.reach(failpoints.FOREIGN_KEY_REGISTERED)

    def add(within: psycopg.Connection) -> None:
        if not _foreign_keys(within, work.table, on, work.plan.organizations):
            within.execute(statement)
        created_objects.mark_created(within, object_id)

    work.ddl.run(str(made), add)
    work.tally.created.append(str(made))
    failpoints.reach(failpoints.FOREIGN_KEY_ADDED)
    if not_valid:
        _validate(work, on, name)


def _validate(work: Work, on: TableName, name: str) -> None:
    """Check the rows that were there before the key: a scan that blocks neither reads nor writes."""
    try:
        with (
            work.keep_alive.long_statement(f"the validation of foreign key {name}"),
            transaction(work.session.connection, lock_timeout_ms=60_000, statement_timeout_ms=0),
        ):
            work.session.connection.execute(validate_statement(on, name))
    except psycopg.errors.ForeignKeyViolation as error:
        raise OperationFailed(
            f"{on}: rows name an organization that does not exist, so foreign key {name} stays NOT VALID: "
            f"{error.diag.message_detail}. They were not written by this run; correct them, then run again"
        ) from error
    failpoints.reach(failpoints.FOREIGN_KEY_VALIDATED)
