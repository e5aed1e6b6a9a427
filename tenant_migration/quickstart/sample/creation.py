"""Makes the sample in an empty database: all of it in one transaction, or nothing."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import UUID

import psycopg
from psycopg import sql

from tenant_migration.errors import Refused, UsageError
from tenant_migration.quickstart.sample.allocation import (
    ROWS_MIN,
    ROWS_PER_TENANT_MIN,
    TABLES,
    Allocation,
    allocate,
)
from tenant_migration.quickstart.sample.hierarchy import Hierarchy, build_hierarchy
from tenant_migration.quickstart.sample.tenants import build_tenants

TENANTS_MIN = 5
TENANTS_MAX = 20_000
ROWS_MAX = 50_000_000

_FOLDER = Path(__file__).parent
_MARK = "Union Claims sample of tenant_migration "
"""Begins the comment on `organizations` by which a sample is known again; its parameters follow as JSON."""


@dataclass(frozen=True)
class SampleParameters:
    """What a sample was made with."""

    rows: int = 100_000
    tenants: int = 20
    seed: int = 1

    def __post_init__(self) -> None:
        if not TENANTS_MIN <= self.tenants <= TENANTS_MAX:
            raise UsageError(f"a sample has {TENANTS_MIN} to {TENANTS_MAX:,} tenants, not {self.tenants:,}")
        least = max(ROWS_MIN, ROWS_PER_TENANT_MIN * self.tenants)
        if not least <= self.rows <= ROWS_MAX:
            raise UsageError(
                f"{self.tenants:,} tenants need {least:,} to {ROWS_MAX:,} rows, not {self.rows:,}"
            )


@dataclass(frozen=True)
class SampleSummary:
    """What is in a sample."""

    parameters: SampleParameters
    organizations: int
    rows_by_table: dict[str, int]
    mappings: tuple[tuple[str, UUID], ...]
    """Tenant and organization, for every tenant but the one that nobody mapped."""
    unmapped_rows: int
    """Rows of the tenant that nobody mapped."""
    shared_rows: int
    """Rows without a tenant."""

    @property
    def rows(self) -> int:
        """All rows of the eight tables."""
        return sum(self.rows_by_table.values())


def create_sample(url: str, *, rows: int = 100_000, tenants: int = 20, seed: int = 1) -> SampleSummary:
    """Make the sample in the schema `public` of an empty database.

    Args:
        url: libpq URI of a role that may create tables there.
        rows: rows of the eight tables together.
        tenants: tenants that have a mapping; one without comes on top.
        seed: another seed, other rows.

    Raises:
        UsageError: the numbers do not make a sample.
        Refused: one of its tables is there already.
    """
    parameters = SampleParameters(rows, tenants, seed)
    hierarchy = build_hierarchy(tenants, seed)
    allocations = allocate(rows, build_tenants(hierarchy))
    with psycopg.connect(url, autocommit=True) as connection:
        with connection.transaction():
            connection.execute("SET LOCAL search_path = public")
            connection.execute("SET LOCAL timezone = 'UTC'")  # dates are taken from times
            connection.execute("SET LOCAL client_min_messages = warning")
            _refuse_existing_tables(connection)
            _run_file(connection, "schema.sql")
            _copy_organizations(connection, hierarchy)
            _copy_allocations(connection, allocations, seed)
            _run_file(connection, "rows.sql")
            _run_file(connection, "constraints.sql")
            comment = sql.Literal(_MARK + json.dumps(asdict(parameters)))
            connection.execute(sql.SQL("COMMENT ON TABLE organizations IS {}").format(comment))
        connection.execute("VACUUM (ANALYZE)")  # as autovacuum would have left it
    return describe_sample(parameters)


def describe_sample(parameters: SampleParameters) -> SampleSummary:
    """Say what is in a sample with these parameters, without a database."""
    hierarchy = build_hierarchy(parameters.tenants, parameters.seed)
    tenants = build_tenants(hierarchy)
    rows_by_table: Counter[str] = Counter()
    unmapped_rows = shared_rows = 0
    for allocation in allocate(parameters.rows, tenants):
        rows_by_table[allocation.table] += allocation.rows
        if allocation.tenant is None:
            shared_rows += allocation.rows
        elif allocation.tenant.organization_id is None:
            unmapped_rows += allocation.rows
    return SampleSummary(
        parameters,
        len(hierarchy.organizations),
        dict(rows_by_table),
        tuple((tenant.tenant_id, tenant.organization_id) for tenant in tenants if tenant.organization_id),
        unmapped_rows,
        shared_rows,
    )


def find_sample(url: str) -> SampleParameters | None:
    """Return the parameters of the sample in a database, None when there is none."""
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(
            "SELECT pg_catalog.obj_description(pg_catalog.to_regclass('public.organizations'), 'pg_class')"
        ).fetchone()
    comment = row[0] if row else None
    if comment is None or not comment.startswith(_MARK):
        return None
    return SampleParameters(**json.loads(comment.removeprefix(_MARK)))


def _refuse_existing_tables(connection: psycopg.Connection) -> None:
    wanted = ["organizations", *TABLES]
    found = connection.execute(
        "SELECT t.name FROM unnest(%s::text[]) AS t (name) "
        "WHERE to_regclass('public.' || t.name) IS NOT NULL",
        [wanted],
    ).fetchall()
    if found:
        names = ", ".join(name for (name,) in found)
        raise Refused(
            f"database {connection.info.dbname} has tables of the sample's names already ({names}): "
            "name an empty database"
        )


def _run_file(connection: psycopg.Connection, name: str) -> None:
    connection.execute((_FOLDER / name).read_text(encoding="utf-8").encode())


def _copy_organizations(connection: psycopg.Connection, hierarchy: Hierarchy) -> None:
    with (
        connection.cursor() as cursor,
        cursor.copy("COPY organizations (id, parent_id, kind, slug, name, created_at) FROM STDIN") as copy,
    ):
        for organization in hierarchy.organizations:
            copy.write_row(
                (
                    organization.id,
                    organization.parent_id,
                    organization.kind,
                    organization.slug,
                    organization.name,
                    "2018-05-01 00:00:00+00",
                )
            )


def _copy_allocations(connection: psycopg.Connection, allocations: tuple[Allocation, ...], seed: int) -> None:
    connection.execute(
        "CREATE TEMPORARY TABLE allocation (seed integer, stream integer, table_name text, "
        "tenant_number integer, tenant_id text, row_count integer) ON COMMIT DROP"
    )
    with connection.cursor() as cursor, cursor.copy("COPY pg_temp.allocation FROM STDIN") as copy:
        for allocation in allocations:
            tenant = allocation.tenant
            copy.write_row(
                (
                    seed,
                    TABLES.index(allocation.table) + 1,
                    allocation.table,
                    tenant.number if tenant else -1,
                    tenant.tenant_id if tenant else None,
                    allocation.rows,
                )
            )
    connection.execute("ANALYZE pg_temp.allocation")
