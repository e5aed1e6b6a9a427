"""From what a person asked to take back to what a rollback does, or a clear refusal. Reads only."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import psycopg

from tenant_migration.backfill.structure.created_objects import Kind, registered
from tenant_migration.config import MigrationConfig
from tenant_migration.database.connection import transaction
from tenant_migration.errors import Refused, UnknownTenant, UsageError
from tenant_migration.planning.counted import counted
from tenant_migration.planning.model import Plan, TablePlan
from tenant_migration.planning.storage import table_ids
from tenant_migration.recovery.drop_created import reasons_against_drop
from tenant_migration.recovery.results import PreviousValues
from tenant_migration.recovery.rollback.from_backup import backup_as_source
from tenant_migration.workflow.selection import select_tables, shortened
from tenant_migration.workflow.touched_pairs import Pair, read_pairs

_STRUCTURE: tuple[Kind, ...] = ("column", "index", "foreign_key", "constraint", "trigger")


@dataclass(frozen=True)
class RollbackScope:
    """What a rollback does: checked, nothing changed yet."""

    tables: tuple[TablePlan, ...]
    """In order, children before parents."""
    tenants: tuple[str, ...] | None
    """As asked for; None: every tenant that was migrated."""
    drop_created: bool = False
    backup_id: int | None = None
    """The backup whose values are brought back; None: the journal's."""
    rows: dict[str, int] = field(default_factory=dict)
    """Table -> rows that carry a value of the migration, as recorded; after a crash there may be more."""
    tenants_with_rows: tuple[str, ...] = ()
    """Tenants of the scope that have something to take back."""
    previous: dict[str, PreviousValues] = field(default_factory=dict)
    """Table -> where the backup has its rows."""
    nothing_left: str | None = None
    """Why there is nothing to do, as a sentence: then no run is needed, and it is no error."""

    @property
    def whole_tables(self) -> bool:
        """Whether every tenant is taken back."""
        return self.tenants is None

    @property
    def rows_recorded(self) -> int:
        """Rows of all tables."""
        return sum(self.rows.values())


def resolve_rollback(
    connection: psycopg.Connection,
    config: MigrationConfig,
    plan: Plan,
    *,
    tables: Sequence[str] | None = None,
    tenants: Sequence[str] | None = None,
    with_children: bool = False,
    drop_created: bool = False,
    from_backup: int | None = None,
    emergency: bool = False,
) -> RollbackScope:
    """Turn names into a scope that may start now. Reads only.

    Args:
        connection: to the database.
        config: settings.
        plan: the stored plan.
        tables: `name` or `schema.name`; None: all.
        tenants: their ids; None: every tenant that was migrated.
        with_children: also the tables that refer to the chosen ones.
        drop_created: also drop what the migration created on the tables.
        from_backup: number of the backup whose values shall come back.
        emergency: take back what can be taken back; what cannot is no reason to refuse the rest.

    Raises:
        UsageError: `drop_created` for some tenants only.
        UnknownTable, UnknownTenant: a name that is not known.
        Refused: a tenant that was never migrated, a table with migrated children that are not part of it, a
            column that could not be dropped, or a backup that does not exist, is not complete or does not
            have the rows.
    """
    if drop_created and tenants is not None:
        raise UsageError(
            "drop_created takes whole tables: the other tenants' rows still need the column. "
            "Leave out the tenant, or drop_created"
        )
    chosen = select_tables(plan, tables)
    asked = None if tenants is None else _known_tenants(connection, tenants)
    descendants = _descendants(plan, chosen)
    if with_children:
        chosen = [table for table in plan.tables if table in chosen or table.qualified_name in descendants]
    names = [table.qualified_name for table in chosen]
    everything = read_pairs(connection, [*names, *(descendants - set(names))], asked)
    pairs = [pair for pair in everything if pair.table in names]
    _refuse_never_migrated(asked, pairs, names if tables is not None else None)
    touched = [pair for pair in pairs if pair.is_touched]
    if not with_children and not emergency:
        _refuse_migrated_children(plan, chosen, touched, everything)
    if tables is None and not emergency:
        _refuse_retired(connection, asked)
    if drop_created:
        _refuse_to_drop(connection, chosen)
    ordered = tuple(reversed(chosen))
    previous: dict[str, PreviousValues] = {}
    if from_backup is not None and touched:
        in_need = {pair.table for pair in touched}
        previous = backup_as_source(
            connection,
            from_backup,
            [table for table in ordered if table.qualified_name in in_need],
            sorted({pair.tenant_id for pair in touched}) if asked is not None else None,
        )
    to_do = bool(touched) or (drop_created and _anything_created(connection, chosen))
    return RollbackScope(
        tables=ordered,
        tenants=None if asked is None else tuple(asked),
        drop_created=drop_created,
        backup_id=from_backup,
        rows={
            table.qualified_name: sum(
                pair.rows_migrated for pair in touched if pair.table == table.qualified_name
            )
            for table in ordered
        },
        tenants_with_rows=tuple(dict.fromkeys(pair.tenant_id for pair in touched)),
        previous=previous,
        nothing_left=None if to_do else _why_nothing(pairs, asked),
    )


def _known_tenants(connection: psycopg.Connection, tenants: Sequence[str]) -> list[str]:
    """Return the tenants without duplicates. Known is who has, or ever had, a mapping."""
    with transaction(connection, read_only=True):
        known = {row[0] for row in connection.execute("SELECT tenant_id FROM tenant_migration.tenants")}
    asked = list(dict.fromkeys(tenants))
    for tenant in asked:
        if tenant not in known:
            nearest = difflib.get_close_matches(tenant, sorted(known), n=1, cutoff=0.6)
            hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
            raise UnknownTenant(
                f"no tenant {tenant!r}: it has no mapping, so nothing of it was ever migrated{hint}; "
                "`tenant-migration mappings --list` shows the known ones"
            )
    return asked


def _descendants(plan: Plan, chosen: Iterable[TablePlan]) -> set[str]:
    """Return the tables that refer to the chosen ones, also by way of others; not the chosen ones."""
    own = {table.qualified_name for table in chosen}
    above = set(own)
    for table in plan.tables:  # parents come before children in the plan
        if above.intersection(table.depends_on):
            above.add(table.qualified_name)
    return above - own


def _refuse_never_migrated(asked: list[str] | None, pairs: list[Pair], tables: list[str] | None) -> None:
    ever = {pair.tenant_id for pair in pairs if pair.is_written or pair.is_rolled_back}
    never = [tenant for tenant in asked or () if tenant not in ever]
    if not never:
        return
    where = f" in {', '.join(tables)}" if tables is not None else ""
    who = f"tenant {never[0]!r} was" if len(never) == 1 else f"tenants {shortened(never)} were"
    raise Refused(
        f"{who} never migrated{where}: there is nothing to roll back; "
        "`tenant-migration mappings --list` shows the state of each tenant"
    )


def _refuse_migrated_children(
    plan: Plan, chosen: list[TablePlan], touched: list[Pair], everything: list[Pair]
) -> None:
    """Refuse parents whose children would stay migrated for the same tenants."""
    lines = []
    for table in chosen:
        tenants = {pair.tenant_id for pair in touched if pair.table == table.qualified_name}
        below = _descendants(plan, [table]) - {other.qualified_name for other in chosen}
        for child in plan.tables:
            migrated = sorted(
                pair.tenant_id
                for pair in everything
                if pair.table == child.qualified_name
                and child.qualified_name in below
                and pair.is_written
                and pair.tenant_id in tenants
            )
            if migrated:
                lines.append(
                    f"  {table.qualified_name}: its child {child.qualified_name} is migrated for "
                    f"{shortened(migrated)}"
                )
    if lines:
        raise Refused(
            "children would stay behind without their parents:\n"
            + "\n".join(lines)
            + "\nroll the children back first, or give --with-children"
        )


_RETIRED = """
    SELECT t.table_schema || '.' || t.table_name, sum(s.rows_migrated)::bigint
    FROM tenant_migration.table_states s
    JOIN tenant_migration.managed_tables t USING (table_id)
    JOIN tenant_migration.tenants n USING (tenant_number)
    WHERE t.retired_at IS NOT NULL AND s.rows_migrated > 0
      AND (%(tenants)s::text[] IS NULL OR n.tenant_id = ANY(%(tenants)s::text[]))
      AND EXISTS (SELECT FROM pg_class c JOIN pg_namespace ns ON ns.oid = c.relnamespace
                  WHERE ns.nspname = t.table_schema AND c.relname = t.table_name)
    GROUP BY 1 ORDER BY 1
"""


def _refuse_retired(connection: psycopg.Connection, asked: list[str] | None) -> None:
    """Refuse a rollback of everything while a table that left the plan carries migrated rows."""
    with transaction(connection, read_only=True):
        retired = connection.execute(_RETIRED, {"tenants": asked}).fetchall()
    if retired:
        lines = "\n".join(f"  {table}: {counted(rows, 'row')}" for table, rows in retired)
        raise Refused(
            f"tables that are no longer in the plan carry migrated rows:\n{lines}\n"
            "include them again in the configuration and store the plan (`tenant-migration plan --write`), "
            "or roll back the others by name"
        )


def _refuse_to_drop(connection: psycopg.Connection, chosen: list[TablePlan]) -> None:
    lines = [
        f"  {table.qualified_name}: {reason}"
        for table in chosen
        for reason in reasons_against_drop(connection, table)
    ]
    if lines:
        raise Refused(
            "columns that the migration created cannot be dropped:\n"
            + "\n".join(lines)
            + "\nmend that first, or leave out --drop-created: the rollback itself needs no drop"
        )


def _anything_created(connection: psycopg.Connection, chosen: list[TablePlan]) -> bool:
    ids = table_ids(connection)
    return any(registered(connection, ids[table.qualified_name], *_STRUCTURE) for table in chosen)


def _why_nothing(pairs: list[Pair], asked: list[str] | None) -> str:
    whom = f" of {shortened(asked)}" if asked else ""
    if any(pair.is_rolled_back for pair in pairs):
        return f"nothing is left to roll back{whom}: everything that was migrated is rolled back already"
    return f"nothing is there to roll back{whom}: nothing was migrated yet"
