"""Installs the claim trigger of a table: registered first, with a short lock timeout, tried again.

It is made after the journal, whose batch numbers it reads, and before the first batch, so that no write of
the application after ours goes unseen.
"""

from __future__ import annotations

import psycopg
from psycopg import sql

from tenant_migration.backfill import failpoints
from tenant_migration.backfill.claims_sql import (
    ClaimTrigger,
    claim_triggers,
    claim_what_is_there,
    claims_relation,
    create_claims,
    function_relation,
)
from tenant_migration.backfill.structure import created_objects
from tenant_migration.backfill.work import Work
from tenant_migration.database.connection import transaction
from tenant_migration.planning.model import TablePlan

# Registered and not yet created: the organizations of a table without a key may not be claimed yet.
_INSTALLED = """
SELECT count(*) FROM pg_trigger AS t
JOIN pg_proc AS p ON p.oid = t.tgfoid JOIN pg_namespace AS n ON n.oid = p.pronamespace
WHERE t.tgrelid = %(relation)s::regclass AND t.tgname = ANY (%(names)s::text[])
  AND n.nspname = 'tenant_migration' AND p.proname = %(function)s AND t.tgenabled IN ('O', 'A')
  AND NOT EXISTS (SELECT FROM tenant_migration.created_objects AS o
                  WHERE o.table_id = %(table_id)s AND o.kind = 'trigger' AND o.object_name = t.tgname
                    AND o.created_at IS NULL AND o.dropped_at IS NULL)"""


def claims_exist(connection: psycopg.Connection, table_id: int) -> bool:
    """Say whether the table has claims, be the triggers that write them still there or not."""
    row = connection.execute(
        "SELECT EXISTS (SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace"
        " WHERE n.nspname = 'tenant_migration' AND c.relname = %s)",
        (claims_relation(table_id),),
    ).fetchone()
    return bool(row and row[0])


def triggers_work(connection: psycopg.Connection, table: TablePlan, table_id: int) -> bool:
    """Say whether every claim trigger of the table is there and enabled."""
    triggers = claim_triggers(table, table_id)
    relation = sql.Identifier(table.schema_name, table.table_name).as_string(connection)
    row = connection.execute(
        _INSTALLED,
        {
            "relation": relation,
            "names": [trigger.name for trigger in triggers],
            "function": function_relation(table_id),
            "table_id": table_id,
        },
    ).fetchone()
    return bool(row and row[0] == len(triggers))


def missing_claims(
    connection: psycopg.Connection, table: TablePlan, table_id: int | None
) -> list[sql.Composed]:
    """Return the statements that a run would execute to install the triggers, in order; none: they work.

    Args:
        connection: to the database.
        table: the table.
        table_id: of the managed table; None: it has none yet.
    """
    if not table.settings.claim_trigger:
        return []
    if table_id is not None and triggers_work(connection, table, table_id):
        return []
    number = table_id or 0
    statements = create_claims(table, number) + [t.statement for t in claim_triggers(table, number)]
    return statements if table.key_columns else [*statements, claim_what_is_there(table, number)]


def ensure_claims(work: Work) -> str | None:
    """Install the claim triggers where they are missing; return why that is not possible, as a sentence.

    Raises:
        OperationFailed: every attempt met a lock.
    """
    table, connection = work.table, work.session.connection
    if not table.settings.claim_trigger or triggers_work(connection, table, work.table_id):
        return None
    if not _may_create(connection, table):
        return _refused(connection, table)
    triggers = claim_triggers(table, work.table_id)
    numbers = [_register(work, trigger) for trigger in triggers]
    failpoints.reach(failpoints.CLAIMS_REGISTERED)

    def create(connection: psycopg.Connection) -> None:
        for statement in create_claims(table, work.table_id):
            connection.execute(statement)
        for trigger in triggers:
            connection.execute(trigger.statement)

    work.ddl.run(f"claim trigger on {table.qualified_name}", create)
    failpoints.reach(failpoints.CLAIMS_CREATED)
    if not table.key_columns:
        _claim_what_is_there(work)

    def mark(connection: psycopg.Connection) -> None:
        with transaction(connection, lock_timeout_ms=5_000):
            for number in numbers:
                created_objects.mark_created(connection, number)

    work.retry.run(f"register of the claim trigger on {table.qualified_name}", mark)
    work.tally.created += [f"trigger {trigger.name} on {table.qualified_name}" for trigger in triggers]
    return None


def _register(work: Work, trigger: ClaimTrigger) -> int:
    created = created_objects.Object(
        "trigger",
        work.table.schema_name,
        trigger.name,
        work.table.name,
        " ".join(trigger.statement.as_string(work.session.connection).split()),
    )
    return work.retry.run(
        f"register of {created}",
        lambda connection: created_objects.register(
            connection, created, table_id=work.table_id, run_id=work.run.run_id
        ),
    )


def _claim_what_is_there(work: Work) -> None:
    """Claim the organizations that the table has already: nobody could tell later who wrote them."""

    def claim(connection: psycopg.Connection) -> None:
        with (
            work.keep_alive.long_statement("a scan for organizations"),
            transaction(connection, lock_timeout_ms=5_000, statement_timeout_ms=0),
        ):
            connection.execute(claim_what_is_there(work.table, work.table_id))

    work.retry.run(f"claims of {work.table.qualified_name}", claim)


def _may_create(connection: psycopg.Connection, table: TablePlan) -> bool:
    relation = sql.Identifier(table.schema_name, table.table_name).as_string(connection)
    row = connection.execute("SELECT has_table_privilege(%s, 'TRIGGER')", (relation,)).fetchone()
    return bool(row and row[0])


def _refused(connection: psycopg.Connection, table: TablePlan) -> str:
    return (
        f"claim trigger: role {connection.info.user} may not create triggers on {table.qualified_name}, so "
        "that a rollback takes a value that the application wrote itself for ours when both are equal; "
        "GRANT TRIGGER, then run again"
    )
