"""Union Claims: exactly what the design says is in it, the same for the same seed."""

from __future__ import annotations

import csv

import psycopg
import pytest
from psycopg import sql

from tenant_migration.errors import Refused, UsageError
from tenant_migration.quickstart.sample import (
    UNMAPPED_TENANT,
    SampleParameters,
    create_sample,
    find_sample,
    write_mappings,
)
from tenant_migration.quickstart.sample.allocation import TABLES, allocate
from tenant_migration.quickstart.sample.hierarchy import build_hierarchy
from tenant_migration.quickstart.sample.tenants import build_tenants

ROWS, TENANTS = 3_000, 12


@pytest.fixture
def sample(database):
    return create_sample(database, rows=ROWS, tenants=TENANTS, seed=7)


def fingerprint(connection: psycopg.Connection, table: str) -> tuple[object, ...]:
    query = sql.SQL("SELECT count(*), md5(string_agg(t::text, '|' ORDER BY id)) FROM {} AS t")
    connection.execute("SET timezone = 'UTC'")
    row = connection.execute(query.format(sql.Identifier(table))).fetchone()
    assert row is not None
    return row


def one(connection: psycopg.Connection, query: str) -> object:
    row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]


def test_rows_are_as_many_as_asked_for(sample, connection):
    counted = {table: fingerprint(connection, table)[0] for table in TABLES}
    assert counted == sample.rows_by_table
    assert sum(counted.values()) == ROWS == sample.rows


def test_hierarchy_has_four_levels(sample, connection):
    levels = connection.execute(
        """WITH RECURSIVE tree AS (
               SELECT id, kind, 1 AS level FROM organizations WHERE parent_id IS NULL
               UNION ALL
               SELECT o.id, o.kind, tree.level + 1 FROM organizations AS o JOIN tree ON tree.id = o.parent_id)
           SELECT level, kind, count(*) FROM tree GROUP BY level, kind ORDER BY level"""
    ).fetchall()
    assert [(level, kind) for level, kind, _ in levels] == [
        (1, "congress"),
        (2, "federation"),
        (3, "union"),
        (4, "local"),
    ]
    assert (
        sum(count for _, _, count in levels)
        == sample.organizations
        == one(connection, "SELECT count(*) FROM organizations")
    )


def test_five_claims_have_lost_their_member_behind_a_reference_not_valid(sample, connection):
    orphans = (
        "SELECT count(*) FROM claims AS c WHERE NOT EXISTS (SELECT FROM profiles AS p WHERE p.id = c.user_id)"
    )
    assert one(connection, orphans) == 5
    valid = dict(
        connection.execute("SELECT conname, convalidated FROM pg_constraint WHERE contype = 'f'").fetchall()
    )
    assert [name for name, validated in valid.items() if not validated] == ["claims_user_id_fkey"]
    assert set(valid) >= {
        "documents_claim_id_fkey",
        "documents_uploaded_by_fkey",
        "grievances_filed_by_fkey",
        "grievances_claim_id_fkey",
    }


def test_a_row_and_what_it_refers_to_are_of_one_tenant(sample, connection):
    crossed = """
        SELECT count(*) FROM (
            SELECT c.tenant_id, p.tenant_id FROM claims AS c JOIN profiles AS p ON p.id = c.user_id
            UNION ALL
            SELECT d.tenant_id, c.tenant_id FROM documents AS d JOIN claims AS c ON c.id = d.claim_id
            UNION ALL
            SELECT d.tenant_id, p.tenant_id FROM documents AS d JOIN profiles AS p ON p.id = d.uploaded_by
            UNION ALL
            SELECT g.tenant_id, p.tenant_id FROM grievances AS g JOIN profiles AS p ON p.id = g.filed_by
            UNION ALL
            SELECT g.tenant_id, c.tenant_id FROM grievances AS g JOIN claims AS c ON c.id = g.claim_id
        ) AS pairs (child, parent) WHERE child <> parent"""
    assert one(connection, crossed) == 0


def test_one_tenant_is_unmapped_one_has_a_quote_and_some_rows_have_none(sample, connection):
    mapped = {tenant for tenant, _ in sample.mappings}
    assert len(mapped) == TENANTS
    assert any("'" in tenant for tenant in mapped)
    per_tenant = "SELECT tenant_id, count(*) FROM ({}) AS rows GROUP BY tenant_id".format(
        " UNION ALL ".join(f"SELECT tenant_id FROM {table}" for table in TABLES)
    )
    counted = dict(connection.execute(per_tenant).fetchall())
    assert set(counted) == mapped | {UNMAPPED_TENANT, None}
    assert (counted[UNMAPPED_TENANT], counted[None]) == (sample.unmapped_rows, sample.shared_rows)
    assert 0 < counted[None] < 20


def test_every_mapping_names_an_organization_and_one_is_named_twice(sample, connection):
    known = {row[0] for row in connection.execute("SELECT id FROM organizations").fetchall()}
    named = [organization for _, organization in sample.mappings]
    assert set(named) <= known
    assert len(set(named)) == len(named) - 1, "two tenants merged into one local"


def test_every_table_has_the_key_indexed_and_no_organization_yet(sample, connection):
    indexed = connection.execute(
        "SELECT DISTINCT tablename FROM pg_indexes WHERE indexdef LIKE '%%(tenant_id%%'"
    ).fetchall()
    assert {row[0] for row in indexed} == set(TABLES)
    columns = "SELECT count(*) FROM information_schema.columns WHERE column_name = 'organization_id'"
    assert one(connection, columns) == 0


def test_same_seed_makes_the_same_rows_on_every_version(servers, server, sample, connection):
    ours = {table: fingerprint(connection, table) for table in ("organizations", *TABLES)}
    other = servers.get(16 if server.version != 16 else 18)
    name = other.create_database()
    create_sample(other.url(name), rows=ROWS, tenants=TENANTS, seed=7)
    with psycopg.connect(other.url(name)) as there:
        theirs = {table: fingerprint(there, table) for table in ours}
    other.drop_database(name)
    assert theirs == ours


def test_another_seed_makes_other_rows(server, sample, connection):
    name = server.create_database()
    create_sample(server.url(name), rows=ROWS, tenants=TENANTS, seed=8)
    with psycopg.connect(server.url(name)) as there:
        assert fingerprint(there, "claims") != fingerprint(connection, "claims")
    server.drop_database(name)


def test_sample_is_found_again_with_its_parameters(sample, database):
    assert find_sample(database) == SampleParameters(ROWS, TENANTS, 7)


def test_other_database_is_not_taken_for_a_sample(database, connection):
    assert find_sample(database) is None
    connection.execute("CREATE TABLE organizations (id uuid)")
    connection.execute("COMMENT ON TABLE organizations IS 'ours'")
    assert find_sample(database) is None


def test_tables_that_are_there_are_refused_and_nothing_is_made(database, connection):
    connection.execute("CREATE TABLE claims (id int)")
    with pytest.raises(Refused, match="claims"):
        create_sample(database, rows=ROWS, tenants=TENANTS)
    assert one(connection, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 1


@pytest.mark.parametrize(("rows", "tenants"), [(399, 5), (1_000, 51), (100_000, 4), (10**9, 20)])
def test_numbers_that_make_no_sample_are_refused(rows, tenants):
    with pytest.raises(UsageError, match=r"rows|tenants"):
        SampleParameters(rows, tenants)


@pytest.mark.parametrize(("rows", "tenants"), [(400, 5), (400, 20), (100_000, 20), (100_000, 5_000)])
def test_allocation_divides_exactly(rows, tenants):
    parts = allocate(rows, build_tenants(build_hierarchy(tenants, 1)))
    assert sum(part.rows for part in parts) == rows
    assert all(part.rows >= 0 for part in parts)
    of_profiles = [part.rows for part in parts if part.table == "profiles"]
    assert min(of_profiles) > 0, "every tenant has a member to refer to"


@pytest.mark.parametrize("tenants", [5, 20, 500])
def test_tenant_ids_are_distinct(tenants):
    ids = [tenant.tenant_id for tenant in build_tenants(build_hierarchy(tenants, 1))]
    assert len(set(ids)) == len(ids) == tenants + 1


def test_largest_of_twenty_tenants_has_more_than_a_quarter():
    parts = allocate(100_000, build_tenants(build_hierarchy(20, 1)))
    largest = sum(part.rows for part in parts if part.tenant and part.tenant.number == 0)
    assert 25_000 < largest < 30_000


def test_mappings_file_has_the_header_that_the_import_reads(sample, tmp_path):
    write_mappings(tmp_path / "mappings.csv", sample)
    with (tmp_path / "mappings.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = list(csv.reader(file))
    assert header == ["tenant_id", "organization_id"]
    assert rows == [[tenant, str(organization)] for tenant, organization in sample.mappings]
