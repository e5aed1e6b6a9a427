"""What the tests of backups share: taking one, and an independent look at what is in it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from tenant_migration.database.connection import connect
from tenant_migration.recovery.results import BackedUpTable, Backup
from tenant_migration.workflow.backup import take_backup
from tenant_migration_tests.backfill.conftest import ACTOR, World

TABLE = "public.claims"


def back_up(
    world: World,
    *,
    tables: Sequence[str] | None = None,
    tenants: Sequence[str] | None = None,
    directory: Path | None = None,
    **arguments: Any,
) -> Backup:
    """Plan and back up."""
    return take_backup(
        world.connection,
        world.config,
        world.plan(),
        actor=ACTOR,
        tables=tables,
        tenants=tenants,
        directory=directory,
        **arguments,
    )


def part_of(backup: Backup, table: str) -> BackedUpTable:
    return next(part for part in backup.tables if part.table == table)


def copied_rows(world: World, backup: Backup, table: str) -> list[str]:
    """Every row of the backup's copy as text, sorted, without the column that is ours."""
    part = part_of(backup, table)
    columns = [
        name
        for (name,) in world.sql(
            "SELECT attname::text FROM pg_attribute WHERE attrelid ="
            " ('tenant_migration.' || quote_ident(%s))::regclass AND attnum > 0 AND NOT attisdropped"
            " ORDER BY attnum",
            part.relation,
        )
        if name != part.backup_column
    ]
    query = sql.SQL("SELECT ROW({})::text FROM {} AS t").format(
        sql.SQL(", ").join(sql.Identifier("t", name) for name in columns),
        sql.Identifier("tenant_migration", part.relation),
    )
    if part.backup_column is not None:
        query += sql.SQL(" WHERE {} = {}").format(
            sql.Identifier(part.backup_column), sql.Literal(backup.backup_id)
        )
    return sorted(row[0] for row in world.connection.execute(query))


def rows_now(world: World, table: str, where: str = "true") -> list[str]:
    """Every row of the application's table as text, sorted."""
    name = sql.Identifier(*table.split(".", maxsplit=1))
    query = sql.SQL("SELECT t::text FROM {} AS t WHERE {}").format(name, sql.SQL(where))
    return sorted(row[0] for row in world.connection.execute(query))


def backup_relations(world: World) -> list[str]:
    """Every table of the private schema that holds rows of a backup."""
    return [
        name
        for (name,) in world.sql(
            "SELECT relname::text FROM pg_class WHERE relnamespace = 'tenant_migration'::regnamespace"
            " AND relkind = 'r' AND relname LIKE 'backup\\_%' ORDER BY 1"
        )
    ]


@contextmanager
def in_background(url: str, target: Any) -> Iterator[list[BaseException]]:
    """Run `target(connection)` in a thread with a connection of its own; give the errors it ended with."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            with connect(url) as connection:
                target(connection)
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield errors
    finally:
        thread.join(timeout=60)
    assert not thread.is_alive()


def audit_of(connection: psycopg.Connection, operation: str) -> list[tuple[Any, ...]]:
    """Outcome, counts and detail of every record of an operation, oldest first."""
    return connection.execute(
        "SELECT outcome, counts, detail FROM tenant_migration.migration_audit_log WHERE operation = %s"
        " ORDER BY seq",
        (operation,),
    ).fetchall()
