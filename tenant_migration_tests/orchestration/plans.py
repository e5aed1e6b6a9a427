"""Plans as values, for tests that need no database."""

from __future__ import annotations

from collections.abc import Sequence

from tenant_migration.planning.model import (
    ColumnRef,
    Hazard,
    HazardLevel,
    OrganizationsRef,
    Plan,
    Strategy,
    TablePlan,
    TableSettings,
)

SETTINGS = TableSettings(
    batch_size=1_000,
    batch_target_ms=100,
    batch_rows_max=50_000,
    adaptive=True,
    on_triggers="refuse",
    on_existing_value="refuse",
    fingerprints="off",
    build_index="after_data",
    tenant_required=False,
    lease_wait_s=1,
    lease_ttl_s=60,
    lock_timeout_ms=500,
    statement_timeout_ms=30_000,
    retry_attempts=10,
    quarantine_max_share=0.01,
)
TEXT = ("pg_catalog", "text", "text")
WARNING = Hazard(
    name="no_tenant_index",
    level=HazardLevel.WARN,
    detail="no index leads with tenant_id",
    way_out="create one",
)


def column(name: str) -> ColumnRef:
    schema, type_name, base = TEXT
    return ColumnRef(name=name, type_schema=schema, type_name=type_name, base_type=base)


def table(
    name: str,
    *,
    schema: str = "public",
    position: int = 0,
    component: int | None = None,
    depends_on: Sequence[str] = (),
    peers: Sequence[str] = (),
    hazards: Sequence[Hazard] = (),
) -> TablePlan:
    return TablePlan(
        schema_name=schema,
        table_name=name,
        position=position,
        component=position if component is None else component,
        depends_on=tuple(depends_on),
        component_peers=tuple(peers),
        tenant_column=column("tenant_id"),
        organization_column="organization_id",
        organization_column_exists=False,
        key_columns=(column("id"),),
        preserved_columns=(column("id"), column("tenant_id")),
        partitioned=False,
        leaves=(f"{schema}.{name}",),
        tenant_index=None,
        organization_index_exists=False,
        organization_foreign_key_exists=False,
        strategy=Strategy.HOT_WAVES,
        strategy_reason="no index contains organization_id",
        estimated_rows=1_000,
        total_bytes=65_536,
        settings=SETTINGS,
        hazards=tuple(hazards),
        table_hash=f"hash of {schema}.{name}",
    )


def plan(*tables: TablePlan, organizations: str = "organizations", interface_schema: str = "public") -> Plan:
    return Plan(
        tool_version="0.1.0",
        database="app",
        server_version=180000,
        interface_schema=interface_schema,
        organizations=OrganizationsRef(
            schema_name="public",
            table_name=organizations,
            id_column="id",
            parent_id_column="parent_id",
            slug_column="slug",
            name_column="name",
        ),
        tables=tables,
        relations=(),
        hazards=(),
        excluded=(),
    )


def small_plan() -> Plan:
    """Two tables with one edge, and a circle of two tables that hangs below."""
    return plan(
        table("profiles", position=0),
        table("claims", position=1, depends_on=["public.profiles"], hazards=[WARNING]),
        table("teams", position=2, component=2, depends_on=["public.claims"], peers=["public.members"]),
        table("members", position=3, component=2, depends_on=["public.claims"], peers=["public.teams"]),
    )
