"""What a check is asked about: a table, one of its relations, or the database. Values for the SQL builders.

Belongs here: what builders may know. Everything read from the database arrives as `TableFacts`, so that the
builders stay pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from psycopg import sql

from tenant_migration.catalog.row_hash import HashPart
from tenant_migration.planning.model import ColumnRef, OrganizationsRef, Plan, Relation, TablePlan

MIGRATED_STATES = ("verifying", "completed")
"""States of a (table, tenant) that claim: every row has its organization."""


@dataclass(frozen=True)
class UniqueIndex:
    """A unique index whose key contains the tenant column, or the organization column.

    Or that of an exclusion constraint: one with `operators`, WITHOUT OVERLAPS among them.
    """

    name: str
    expressions: tuple[str, ...]
    """Its key columns and expressions, as the server prints them."""
    other_expressions: tuple[str, ...]
    """All but that column."""
    predicate: str | None
    nulls_distinct: bool
    operators: tuple[str, ...] = ()
    """By which two rows exclude each other, one for each expression; empty: by being equal."""
    partition: str | None = None
    """Quoted name of the partition that alone has it."""


@dataclass(frozen=True)
class ContentForm:
    """One way in which fingerprints of a table were taken."""

    run_ids: tuple[int, ...]
    parts: tuple[HashPart, ...]


@dataclass(frozen=True)
class FiringTrigger:
    """A trigger of the application that an UPDATE of the organization column fires."""

    name: str
    is_harmless: bool
    """Whether it only lets the row through, as far as its source shows."""
    does: str
    """In words."""


@dataclass(frozen=True)
class ReferenceElsewhere:
    """A foreign key that is no relation of the plan: to a table that is not migrated, or of a partition."""

    name: str
    child: tuple[str, str]
    """Schema and name: the table, or the partition that alone declares it."""
    child_is_partitioned: bool
    child_columns: tuple[str, ...]
    parent: tuple[str, str]
    parent_is_partitioned: bool
    parent_columns: tuple[str, ...]
    operators: tuple[str, ...]
    """By which a parent's column equals the child's."""


@dataclass(frozen=True)
class Structure:
    """What of a table's structure a backfill meets."""

    organization_column_is_generated: bool = False
    firing_triggers: tuple[FiringTrigger, ...] = ()
    references_elsewhere: tuple[ReferenceElsewhere, ...] = ()


@dataclass(frozen=True)
class TableFacts:
    """What the database says of a table at the moment of the checks; the plan may be older."""

    table_id: int | None
    """None: not registered, so nothing of it can be recorded as migrated."""
    organization_column_exists: bool
    has_journal: bool
    is_partitioned: bool
    recorded_pairs: int
    """Tenants in scope that are recorded as migrated in this table."""
    completed_pairs: int = 0
    """Those of them that are completed; the others are being verified by the run that wrote them."""
    recorded_rows: int = 0
    """Rows that these tenants had migrated or kept."""
    kept_rows: int = 0
    """Rows of these tenants whose own value was recorded and left alone."""
    columns: tuple[str, ...] = ()
    """As they are now, in order."""
    unique_indexes: tuple[UniqueIndex, ...] = ()
    """Those with the tenant column."""
    organization_indexes: tuple[UniqueIndex, ...] = ()
    """Those with the organization column."""
    contents: tuple[ContentForm, ...] = ()
    """How runs took the fingerprints in the journal, the newest first; empty: there are none to compare."""
    contents_missing: str = ""
    """Why there are none."""
    runs_that_only_fill: tuple[int, ...] = ()
    """Runs that replaced no value, so that no entry of theirs has one to bring back."""
    equality_by_type: Mapping[str, str] = field(default_factory=dict)
    """Quoted type -> its own `=`, with the schema. Under our search path a bare one between values of an
    extension's type (citext) would be that of text."""


@dataclass(frozen=True)
class TableScope:
    """One table, for all tenants or for some."""

    plan: Plan
    table: TablePlan
    facts: TableFacts
    tenants: tuple[str, ...] | None
    allowed_unmapped_tenants: tuple[str, ...] = ()
    several_tenants_share_an_organization: bool = False
    structure: Structure = Structure()
    known_keys: Mapping[str, int] = field(default_factory=dict)
    """Quoted types whose keys the transaction knows, and the number under which (`sources/known_keys.py`)."""

    def equality_of(self, column: ColumnRef) -> sql.SQL:
        """Return the operator by which values of this column are equal."""
        return sql.SQL(self.facts.equality_by_type.get(column.quoted_type, "OPERATOR(pg_catalog.=)"))

    def for_a_person(self) -> TableScope:
        """Return the scope for a query that is put outside of the transaction of the checks."""
        return replace(self, known_keys={})


@dataclass(frozen=True)
class RelationScope:
    """One reference from a managed table to a managed table."""

    relation: Relation
    child: TableScope
    parent: TableScope
    """For every tenant: a row may refer to a row of any."""
    join_condition: str
    """When a row `c` of the child refers to a row `p` of the parent: as the readiness function compares."""

    def for_a_person(self) -> RelationScope:
        """As of a table."""
        return replace(self, child=self.child.for_a_person(), parent=self.parent.for_a_person())


@dataclass(frozen=True)
class DatabaseScope:
    """The database as a whole; `tables` are those in scope, for what is counted over tables."""

    plan: Plan
    tables: tuple[TablePlan, ...]
    tenants: tuple[str, ...] | None

    @property
    def organizations(self) -> OrganizationsRef:
        """The organizations table."""
        return self.plan.organizations

    def for_a_person(self) -> DatabaseScope:
        """As of a table."""
        return self


Scope = TableScope | RelationScope | DatabaseScope


def nothing_recorded(scope: TableScope) -> str | None:
    """Return why there is nothing to verify in a table, or None."""
    if scope.facts.recorded_pairs:
        return None
    return f"no tenant in scope is recorded as migrated in {scope.table.qualified_name}"


def nothing_recorded_on_both_sides(scope: RelationScope) -> str | None:
    """Return why there is nothing to verify in a relation, or None."""
    return nothing_recorded(scope.child) or nothing_recorded(scope.parent)
