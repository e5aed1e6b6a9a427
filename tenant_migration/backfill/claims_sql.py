"""SQL of claims: what records that the application wrote the organization of a row itself.

`claims_<table_id>` has one row for each claimed key, with the number of the newest batch at that moment
(`after_batch`). The application and a batch that write the same row come one after the other, by the row's
lock, and a batch takes its number while it holds that lock. So an entry of the journal is claimed exactly
when `after_batch >= batch_id`, without any clock.

What claims the key that a row had before: another organization; another key, or a DELETE, since a row that
comes later under that key is not the one that we wrote. `moved_to` names the other key, for what was written
after batch `moved_since`.

A table without a key cannot name the row: there `claims_<table_id>` has the organizations that somebody else
wrote anywhere in the table. One may be there several times: a unique index would make each writer of an
organization wait for the others' ends, and fail under REPEATABLE READ. Under SERIALIZABLE nothing is looked
up either, since two who look before they insert count as a conflict.

The triggers look at the columns' values (WHEN), not at the columns an UPDATE names: a BEFORE trigger of the
application may set the organization too. SECURITY DEFINER, so that nobody who writes the table needs rights
on our schema. They fire under session_replication_role = replica too (ENABLE ALWAYS), since what logical
replication and some loaders write is the application's as well.

TRUNCATE fires no trigger of a row: one of the statement, on the table and on each partition, notes the
newest batch of that moment in `truncations`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from tenant_migration.backfill.journal_sql import journal_relation, key_columns
from tenant_migration.catalog.model import TableName
from tenant_migration.planning.model import TablePlan

_PREFIX = "tenant_migration_claim"


@dataclass(frozen=True)
class ClaimTrigger:
    """One of the triggers on the application's table."""

    name: str
    on_relation: TableName
    statement: sql.Composed

    def always(self) -> sql.Composed:
        """Build what lets it fire under session_replication_role = replica too."""
        return sql.SQL("ALTER TABLE {} ENABLE ALWAYS TRIGGER {}").format(
            sql.Identifier(self.on_relation.schema, self.on_relation.name), sql.Identifier(self.name)
        )


def claims_relation(table_id: int) -> str:
    """Return the bare name of the table's claims in schema `tenant_migration`."""
    return f"claims_{table_id}"


def claims_name(table_id: int) -> sql.Identifier:
    """Return the quoted name of the table's claims."""
    return sql.Identifier("tenant_migration", claims_relation(table_id))


def function_relation(table_id: int) -> str:
    """Return the bare name of the trigger function in schema `tenant_migration`."""
    return f"claim_{table_id}"


_OF_KEYS = (
    "CREATE TABLE IF NOT EXISTS {claims} ({columns}, after_batch bigint NOT NULL, moved_to jsonb,"
    " moved_since bigint, PRIMARY KEY ({keys}))"
)
_OF_ORGANIZATIONS = "CREATE TABLE IF NOT EXISTS {claims} (organization_id uuid NOT NULL)"
_BY_ORGANIZATION = "CREATE INDEX IF NOT EXISTS {name} ON {claims} (organization_id)"

# A column that the application renamed must not make its writes fail: then nothing is claimed, and a rollback
# is refused until there is a plan that knows the new name.
_COLUMNS_ARE_THERE = """
    IF (SELECT count(*) FROM pg_attribute AS a
        WHERE a.attrelid = TG_RELID AND NOT a.attisdropped AND a.attname = ANY ({names})) < {number} THEN
        RETURN NULL;
    END IF;"""

_CLAIM_KEY = """
BEGIN{columns_are_there}
    INSERT INTO {claims} AS c ({keys}, after_batch, moved_to)
    SELECT {old_keys}, CASE WHEN s.is_called THEN s.last_value ELSE 0 END,
           CASE WHEN TG_OP = 'UPDATE' AND ({other_key}) THEN jsonb_build_object({new_key}) END
    FROM {batch_numbers} AS s
    ON CONFLICT ({keys}) DO UPDATE
        SET after_batch = excluded.after_batch, moved_to = excluded.moved_to, moved_since = c.after_batch
        WHERE c.after_batch < excluded.after_batch;
    RETURN NULL;
END"""

_CLAIM_ORGANIZATION = """
BEGIN{columns_are_there}
    IF current_setting('transaction_isolation') = 'serializable'
       OR NOT EXISTS (SELECT FROM {claims} AS c WHERE c.organization_id = NEW.{organization}) THEN
        INSERT INTO {claims} VALUES (NEW.{organization});
    END IF;
    RETURN NULL;
END"""

_FUNCTION = """
CREATE OR REPLACE FUNCTION {function}() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS {body}"""

_TRIGGER = """
CREATE OR REPLACE TRIGGER {name} AFTER {event} ON {table} FOR EACH ROW
WHEN (({happened}) AND current_setting('tenant_migration.backfill', true) IS DISTINCT FROM 'on')
EXECUTE FUNCTION {function}()"""

_TRUNCATE_TRIGGER = """
CREATE OR REPLACE TRIGGER {name} AFTER TRUNCATE ON {relation} FOR EACH STATEMENT
WHEN (current_setting('tenant_migration.backfill', true) IS DISTINCT FROM 'on')
EXECUTE FUNCTION tenant_migration.note_truncation({table_id})"""


def create_claims(table: TablePlan, table_id: int) -> list[sql.Composed]:
    """Build the statements that make the claims and the function that writes them, for one transaction."""
    claims, function = claims_name(table_id), sql.Identifier("tenant_migration", function_relation(table_id))
    organization = sql.Identifier(table.organization_column)
    indexes: list[sql.Composed] = []
    if table.key_columns:
        columns = key_columns(table)
        names = sql.SQL(", ").join(sql.Identifier(column.name) for column in columns)
        create = sql.SQL(_OF_KEYS).format(
            claims=claims,
            columns=sql.SQL(", ").join(
                sql.SQL("{} {}").format(sql.Identifier(column.name), column.element_type)
                for column in columns
            ),
            keys=names,
        )
        body = sql.SQL(_CLAIM_KEY).format(
            columns_are_there=_columns_are_there([column.name for column in table.key_columns]),
            claims=claims,
            keys=names,
            old_keys=sql.SQL(", ").join(
                sql.SQL("OLD.{}").format(sql.Identifier(column.name)) for column in table.key_columns
            ),
            other_key=sql.SQL(" OR ").join(_other_key(table)),
            new_key=sql.SQL(", ").join(
                sql.SQL("{}, NEW.{}::text").format(sql.Literal(column.name), sql.Identifier(column.name))
                for column in table.key_columns
            ),
            batch_numbers=sql.Identifier("tenant_migration", f"{journal_relation(table_id)}_batch_id_seq"),
        )
    else:
        create = sql.SQL(_OF_ORGANIZATIONS).format(claims=claims)
        index = sql.Identifier(f"{claims_relation(table_id)}_organization_id")
        indexes = [sql.SQL(_BY_ORGANIZATION).format(name=index, claims=claims)]
        body = sql.SQL(_CLAIM_ORGANIZATION).format(
            columns_are_there=_columns_are_there([table.organization_column]),
            claims=claims,
            organization=organization,
        )
    return [
        create,
        *indexes,
        sql.SQL("SELECT tenant_migration.make_private({})").format(
            sql.Literal(f"tenant_migration.{claims_relation(table_id)}")
        ),
        sql.SQL(_FUNCTION).format(function=function, body=sql.Literal(body.as_string())),
        sql.SQL("SELECT tenant_migration.make_function_private({})").format(
            sql.Literal(f"tenant_migration.{function_relation(table_id)}()")
        ),
    ]


def _columns_are_there(names: Sequence[str]) -> sql.Composed:
    array = sql.SQL("ARRAY[{}]::name[]").format(sql.SQL(", ").join(map(sql.Literal, names)))
    return sql.SQL(_COLUMNS_ARE_THERE).format(names=array, number=sql.Literal(len(names)))


def claim_triggers(table: TablePlan, table_id: int) -> list[ClaimTrigger]:
    """Build the triggers on the application's table."""
    organization = sql.Identifier(table.organization_column)
    other_organization = sql.SQL("OLD.{0} IS DISTINCT FROM NEW.{0}").format(organization)
    if table.key_columns:
        events = {
            "UPDATE": sql.SQL(" OR ").join([other_organization, *_other_key(table)]),
            "DELETE": sql.SQL("OLD.{} IS NOT NULL").format(organization),
        }
    else:
        is_set = sql.SQL("NEW.{} IS NOT NULL").format(organization)
        events = {"INSERT": is_set, "UPDATE": sql.SQL(" AND ").join([is_set, other_organization])}
    return [
        ClaimTrigger(
            f"{_PREFIX}_{event.lower()}",
            table.name,
            sql.SQL(_TRIGGER).format(
                name=sql.Identifier(f"{_PREFIX}_{event.lower()}"),
                event=sql.SQL(event),
                table=sql.Identifier(table.schema_name, table.table_name),
                happened=happened,
                function=sql.Identifier("tenant_migration", function_relation(table_id)),
            ),
        )
        for event, happened in events.items()
    ]


def _other_key(table: TablePlan) -> list[sql.Composed]:
    return [
        sql.SQL("NOT OLD.{0} {1} NEW.{0}").format(sql.Identifier(column.name), sql.SQL(column.equality))
        for column in table.key_columns
    ]


def truncate_trigger(relation: TableName, table_id: int) -> ClaimTrigger:
    """Build the trigger that notes when the table, or this partition of it, is emptied at once."""
    name = f"{_PREFIX}_truncate"
    return ClaimTrigger(
        name,
        relation,
        sql.SQL(_TRUNCATE_TRIGGER).format(
            name=sql.Identifier(name),
            relation=sql.Identifier(relation.schema, relation.name),
            table_id=sql.Literal(str(table_id)),
        ),
    )


def claim_what_is_there(table: TablePlan, table_id: int) -> sql.Composed:
    """Build what claims the organizations that are in a table without a key before its first batch."""
    return sql.SQL(
        "INSERT INTO {claims} SELECT DISTINCT {organization} FROM {table} WHERE {organization} IS NOT NULL"
        " EXCEPT SELECT organization_id FROM {claims}"
    ).format(
        claims=claims_name(table_id),
        organization=sql.Identifier(table.organization_column),
        table=sql.Identifier(table.schema_name, table.table_name),
    )


def drop_claims(table_id: int) -> list[sql.Composed]:
    """Build what removes function and claims once the triggers are dropped."""
    return [
        sql.SQL("DROP FUNCTION IF EXISTS {}()").format(
            sql.Identifier("tenant_migration", function_relation(table_id))
        ),
        sql.SQL("DROP TABLE IF EXISTS {}").format(claims_name(table_id)),
        sql.SQL("DELETE FROM tenant_migration.truncations WHERE table_id = {}").format(sql.Literal(table_id)),
    ]
