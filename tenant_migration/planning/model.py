"""The plan: which tables, in which order, by which strategy, with which hazards. JSON in and out.

Belongs here: the values and their JSON form. They are what `plan --write` stores, what the Dagster
definitions are built from, and what the engine is given.
"""

from __future__ import annotations

from enum import Enum
from typing import Literal

from pydantic import BaseModel, ConfigDict

from tenant_migration.catalog.model import TableName
from tenant_migration.config import BuildIndex, Fingerprints, OnExistingValue, OnTriggers


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Strategy(str, Enum):
    """How the bulk pass walks the table."""

    HOT_WAVES = "hot_waves"
    """No index mentions the organization column: each pass over a window of pages updates one part in eight
    of every page, so that later passes reuse the space in place (performance.md P2b)."""
    CTID_RANGES = "ctid_ranges"
    """An index is there already: ranges of pages, once, in order (P2a)."""


class HazardLevel(str, Enum):
    """What a hazard means for the run."""

    REFUSE = "refuse"
    """Nothing starts for this table until it is decided or mended."""
    WARN = "warn"
    """It starts; the reader should know."""
    INFO = "info"


class Hazard(_Value):
    """Something in the table that can hurt, with the way out."""

    name: str
    """Stable and machine-readable, for example `trigger_writes_elsewhere`, `row_security_active`."""
    level: HazardLevel
    detail: str
    """What is there: names, counts."""
    way_out: str
    """What the person can do."""


class ColumnRef(_Value):
    """A column with the type to cast to."""

    name: str
    type_schema: str
    type_name: str
    base_type: str
    equality_schema: str = "pg_catalog"

    @property
    def equality(self) -> str:
        """The type's own `=`, as SQL: with `pg_catalog` alone on the path a bare one is text's for citext."""
        return f'OPERATOR("{self.equality_schema.replace(chr(34), chr(34) * 2)}".=)'

    @property
    def is_domain(self) -> bool:
        """Whether the type is a domain over another."""
        return self.base_type != f"{self.type_schema}.{self.type_name}"

    @property
    def quoted_type(self) -> str:
        """`"schema"."name"`, as `managed_tables.key_type` has it and `canonical_key` takes it."""
        return ".".join('"' + part.replace('"', '""') + '"' for part in (self.type_schema, self.type_name))


class Relation(_Value):
    """A reference from a managed table to a managed table, declared or configured."""

    name: str
    child: str
    child_columns: tuple[str, ...]
    parent: str
    parent_columns: tuple[str, ...]
    source: Literal["foreign_key", "configuration"]
    validated: bool


class TableSettings(_Value):
    """The settings of one table: `tables` over `defaults`."""

    batch_size: int
    batch_target_ms: int
    batch_rows_max: int
    adaptive: bool
    on_triggers: OnTriggers
    on_existing_value: OnExistingValue
    fingerprints: Fingerprints
    claim_trigger: bool = True
    build_index: BuildIndex
    tenant_required: bool
    lease_wait_s: float
    lease_ttl_s: float
    lock_timeout_ms: int
    statement_timeout_ms: int
    retry_attempts: int
    quarantine_max_share: float


class Estimate(_Value):
    """What migrating the whole table costs, about; None: not known, since the table was never analysed."""

    rows: int | None
    wal_bytes: int | None
    heap_growth_bytes: int | None
    seconds: float | None


class TablePlan(_Value):
    """One managed table."""

    schema_name: str
    table_name: str
    position: int
    """0, 1, ... parents before children; tables of one component share no order among themselves."""
    component: int
    """Number of its strongly connected component; tables that refer to each other in a circle share it."""
    depends_on: tuple[str, ...]
    """Managed parents (`schema.table`) outside its component, by foreign key or configuration."""
    component_peers: tuple[str, ...]
    """Managed tables in the same circle."""
    tenant_column: ColumnRef
    organization_column: str
    organization_column_exists: bool
    key_columns: tuple[ColumnRef, ...]
    """Row identity for the journal; empty: no key, rows are known by (leaf, ctid, xmin)."""
    preserved_columns: tuple[ColumnRef, ...]
    """Every column but the organization column and generated ones: their content must not change."""
    partitioned: bool
    leaves: tuple[str, ...]
    """The tables that hold the rows (`schema.table`) when the plan was made. Partitions come and go without a
    new plan: whoever walks them reads them anew."""
    tenant_index: str | None
    """An index that leads with the tenant key, or None: one tenant then costs a scan."""
    organization_index_exists: bool
    organization_foreign_key_exists: bool
    strategy: Strategy
    strategy_reason: str
    estimated_rows: int
    """-1: never analysed."""
    total_bytes: int
    settings: TableSettings
    estimate: Estimate = Estimate(rows=None, wal_bytes=None, heap_growth_bytes=None, seconds=None)
    hazards: tuple[Hazard, ...]
    table_hash: str
    """Over `facts`."""
    facts: tuple[str, ...] = ()
    """What this table's plan depends on, one sentence a fact, in order; without what the tool itself created
    and without mappings. Two plans differ in what their facts differ in."""

    @property
    def name(self) -> TableName:
        """Schema and name."""
        return TableName(self.schema_name, self.table_name)

    @property
    def qualified_name(self) -> str:
        """`schema.table`, the key of this table everywhere."""
        return f"{self.schema_name}.{self.table_name}"

    @property
    def refusals(self) -> tuple[Hazard, ...]:
        """The hazards that keep the table from starting."""
        return tuple(hazard for hazard in self.hazards if hazard.level is HazardLevel.REFUSE)


class OrganizationsRef(_Value):
    """The organizations table, resolved."""

    schema_name: str
    table_name: str
    id_column: str
    parent_id_column: str | None
    slug_column: str | None
    name_column: str | None
    active_column: str | None = None


class Plan(_Value):
    """Everything the engine, the checks and the Dagster definitions need to know of this database."""

    tool_version: str
    database: str
    server_version: int
    interface_schema: str
    organizations: OrganizationsRef
    organization_column: str = "organization_id"
    """The configured name; a table's own is in its plan."""
    tenant_key_columns: tuple[str, ...] = ("tenant_id",)
    allowed_unmapped_tenants: tuple[str, ...] = ()
    tables: tuple[TablePlan, ...]
    """In order: parents before children."""
    relations: tuple[Relation, ...]
    hazards: tuple[Hazard, ...]
    """Of the database as a whole: standby, organizations' key type, dependents that name the key."""
    excluded: tuple[str, ...]
    """Tables with the key that the configuration leaves out."""
    derivable: tuple[str, ...] = ()
    """Tables without the key that belong to a tenant by foreign key: `schema.table: column -> parent`."""

    @property
    def refusals(self) -> tuple[Hazard, ...]:
        """The hazards of the database as a whole that keep every table from starting."""
        return tuple(hazard for hazard in self.hazards if hazard.level is HazardLevel.REFUSE)

    def table(self, name: str) -> TablePlan | None:
        """Return the table of this name: `schema.table`, or the bare name where it is unique."""
        exact = [table for table in self.tables if table.qualified_name == name]
        bare = [table for table in self.tables if table.table_name == name]
        found = exact or bare
        return found[0] if len(found) == 1 else None
