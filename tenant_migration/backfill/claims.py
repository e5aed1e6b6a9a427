"""Installs the claim triggers of a table: registered first, with a short lock timeout, tried again.

They are made after the journal, whose batch numbers they read, and before the first batch, so that no write
of the application after ours goes unseen. Partitions that came since get their own.
"""

from __future__ import annotations

from dataclasses import dataclass

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
    truncate_trigger,
)
from tenant_migration.backfill.structure import created_objects
from tenant_migration.backfill.work import Work
from tenant_migration.catalog.model import TableName
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

# The table and the partitions that hold rows. Those of another kind are refused before anything is written.
_RELATIONS = """
SELECT n.nspname::text, c.relname::text, pg_has_role(c.relowner, 'USAGE'),
       has_table_privilege(c.oid, 'TRIGGER'), coalesce(t.tgenabled::text, '')
FROM pg_class AS root JOIN pg_namespace AS ns ON ns.oid = root.relnamespace
CROSS JOIN LATERAL (
    SELECT relid::oid FROM pg_partition_tree(root.oid) WHERE isleaf UNION SELECT root.oid) AS part (oid)
JOIN pg_class AS c ON c.oid = part.oid AND c.relkind IN ('r', 'p')
JOIN pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_trigger AS t ON t.tgrelid = c.oid AND t.tgname = %(trigger)s
WHERE ns.nspname = %(schema)s AND root.relname = %(name)s ORDER BY c.oid"""

_OF_ORIGIN = """
SELECT EXISTS (SELECT FROM pg_trigger AS t
               WHERE t.tgrelid = %s::regclass AND starts_with(t.tgname, 'tenant_migration_claim')
                 AND t.tgenabled = 'O')"""


def claims_exist(connection: psycopg.Connection, table_id: int) -> bool:
    """Say whether the table has claims, be the triggers that write them still there or not."""
    row = connection.execute(
        "SELECT EXISTS (SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace"
        " WHERE n.nspname = 'tenant_migration' AND c.relname = %s)",
        (claims_relation(table_id),),
    ).fetchone()
    return bool(row and row[0])


def triggers_work(connection: psycopg.Connection, table: TablePlan, table_id: int) -> bool:
    """Say whether every claim trigger of the table's rows is there and enabled."""
    triggers = claim_triggers(table, table_id)
    row = connection.execute(
        _INSTALLED,
        {
            "relation": _quoted(connection, table.name),
            "names": [trigger.name for trigger in triggers],
            "function": function_relation(table_id),
            "table_id": table_id,
        },
    ).fetchone()
    return bool(row and row[0] == len(triggers))


@dataclass(frozen=True)
class _Missing:
    """What is to be installed."""

    of_rows: list[ClaimTrigger]
    of_truncate: list[ClaimTrigger]
    fire_always: bool
    """Whether this role may say that they fire under session_replication_role = replica too."""
    is_allowed: bool
    """Whether this role may create them."""

    @property
    def triggers(self) -> list[ClaimTrigger]:
        return self.of_rows + self.of_truncate

    def statements(self, table: TablePlan, table_id: int) -> list[sql.Composed]:
        made = create_claims(table, table_id) if self.of_rows else []
        for trigger in self.triggers:
            made.append(trigger.statement)
            if self.fire_always:
                made.append(trigger.always())
        return made


def _find_missing(connection: psycopg.Connection, table: TablePlan, table_id: int | None) -> _Missing:
    number = table_id or 0
    relations = connection.execute(
        _RELATIONS,
        {
            "schema": table.schema_name,
            "name": table.table_name,
            "trigger": truncate_trigger(table.name, number).name,
        },
    ).fetchall()
    has_row_triggers = table_id is not None and triggers_work(connection, table, table_id)
    of_truncate = [
        truncate_trigger(TableName(schema, name), number)
        for schema, name, _, _, enabled in relations
        if enabled not in {"O", "A"}
    ]
    return _Missing(
        [] if has_row_triggers else claim_triggers(table, number),
        of_truncate,
        fire_always=all(owned for _, _, owned, _, _ in relations),
        is_allowed=all(allowed for _, _, _, allowed, _ in relations),
    )


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
    missing = _find_missing(connection, table, table_id)
    statements = missing.statements(table, table_id or 0)
    if missing.of_rows and not table.key_columns:
        statements.append(claim_what_is_there(table, table_id or 0))
    return statements


def ensure_claims(work: Work) -> str | None:
    """Install the claim triggers where they are missing; return what they will not see, as a sentence.

    Raises:
        OperationFailed: every attempt met a lock.
    """
    table, connection = work.table, work.session.connection
    if not table.settings.claim_trigger:
        return None
    missing = _find_missing(connection, table, work.table_id)
    if missing.triggers:
        if not missing.is_allowed:
            return _refused(connection, table)
        _install(work, missing)
    return _of_origin(work.session.connection, table)


def _install(work: Work, missing: _Missing) -> None:
    table = work.table
    numbers = [_register(work, trigger) for trigger in missing.triggers]
    failpoints.reach(failpoints.CLAIMS_REGISTERED)

    def create(connection: psycopg.Connection) -> None:
        for statement in missing.statements(table, work.table_id):
            connection.execute(statement)

    work.ddl.run(f"claim trigger on {table.qualified_name}", create)
    failpoints.reach(failpoints.CLAIMS_CREATED)
    if missing.of_rows and not table.key_columns:
        _claim_what_is_there(work)

    def mark(connection: psycopg.Connection) -> None:
        with transaction(connection, lock_timeout_ms=5_000):
            for number in numbers:
                created_objects.mark_created(connection, number)

    work.retry.run(f"register of the claim trigger on {table.qualified_name}", mark)
    work.tally.created += [f"trigger {trigger.name} on {trigger.on_relation}" for trigger in missing.triggers]


def _register(work: Work, trigger: ClaimTrigger) -> int:
    created = created_objects.Object(
        "trigger",
        trigger.on_relation.schema,
        trigger.name,
        trigger.on_relation,
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


def _refused(connection: psycopg.Connection, table: TablePlan) -> str:
    return (
        f"claim trigger: role {connection.info.user} may not create triggers on {table.qualified_name}, so "
        "that a rollback takes a value that the application wrote itself for ours when both are equal; "
        "GRANT TRIGGER, then run again"
    )


def _of_origin(connection: psycopg.Connection, table: TablePlan) -> str | None:
    """Say what a claim trigger that does not fire always will not see; None: it does."""
    row = connection.execute(_OF_ORIGIN, (_quoted(connection, table.name),)).fetchone()
    if not row or not row[0]:
        return None
    return (
        f"claim trigger: role {connection.info.user} does not own {table.qualified_name}, so the trigger "
        "sees nothing of what logical replication and loaders write (session_replication_role = replica)"
        "; as the owner: ALTER TABLE ... ENABLE ALWAYS TRIGGER, for each named tenant_migration_claim_..."
    )


def _quoted(connection: psycopg.Connection, relation: TableName) -> str:
    return sql.Identifier(relation.schema, relation.name).as_string(connection)
