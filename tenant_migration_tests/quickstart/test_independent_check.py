"""The query that has the last word: it says yes to a right end, and no to each way of being wrong."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import sql

from tenant_migration.quickstart.sample import (
    count_independently,
    count_tenants_independently,
    create_sample,
)
from tenant_migration.quickstart.sample.allocation import TABLES


@pytest.fixture
def migrated(database, connection):
    """The sample brought to its end by one plain statement a table."""
    summary = create_sample(database, rows=1_000, tenants=8)
    connection.execute("CREATE TABLE tenant_org_mappings (tenant_id text PRIMARY KEY, organization_id uuid)")
    with connection.cursor() as cursor:
        cursor.executemany("INSERT INTO tenant_org_mappings VALUES (%s, %s)", summary.mappings)
    for table in TABLES:
        name = sql.Identifier(table)
        connection.execute(sql.SQL("ALTER TABLE {} ADD organization_id uuid").format(name))
        connection.execute(
            sql.SQL(
                "UPDATE {} AS t SET organization_id = m.organization_id "
                "FROM tenant_org_mappings AS m WHERE m.tenant_id = t.tenant_id"
            ).format(name)
        )
    return summary


def test_right_end_has_no_difference(database, migrated):
    counts = count_independently(database)
    assert counts.differences(migrated) == []
    assert counts.as_mapped + counts.allowed + counts.shared == counts.rows == 1_000


def test_by_tenant_every_row_is_counted_once(database, migrated):
    counts = count_tenants_independently(database)
    assert sum(count.rows for count in counts.values()) == 1_000 - migrated.shared_rows
    assert {tenant for tenant, count in counts.items() if count.with_organization} == {
        tenant for tenant, _ in migrated.mappings
    }


def test_a_tenant_that_was_taken_back_is_the_only_difference(database, migrated, connection):
    tenant = migrated.mappings[0][0]
    for table in TABLES:
        connection.execute(
            sql.SQL("UPDATE {} SET organization_id = NULL WHERE tenant_id = %s").format(
                sql.Identifier(table)
            ),
            [tenant],
        )
    rows = count_tenants_independently(database)[tenant]
    assert (rows.with_organization, rows.rows > 0) == (0, True)
    counts = count_independently(database)
    assert counts.differences(migrated, rolled_back=rows.rows) == []
    assert counts.differences(migrated) != []
    assert counts.differences(migrated, rolled_back=rows.rows - 1) != []


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (
            "UPDATE claims SET organization_id = NULL WHERE id = (SELECT min(id) FROM claims)",
            "wrong_or_missing",
        ),
        (
            "UPDATE documents AS d SET organization_id = (SELECT id FROM organizations AS o "
            "WHERE o.id <> d.organization_id LIMIT 1) WHERE id = 1",
            "wrong_or_missing",
        ),
        (
            "UPDATE profiles SET organization_id = (SELECT id FROM organizations LIMIT 1) "
            "WHERE tenant_id = 'platform-system'",
            "invented",
        ),
        (
            "UPDATE precedents SET organization_id = (SELECT id FROM organizations LIMIT 1) "
            "WHERE tenant_id IS NULL",
            "invented",
        ),
        ("DELETE FROM strike_votes WHERE id = 1", "rows"),
        ("UPDATE clause_library SET tenant_id = 'platform-system' WHERE id = 1", "invented"),
    ],
    ids=["missing", "wrong", "allowed tenant filled", "shared row filled", "row lost", "tenant changed"],
)
def test_each_wrong_end_is_named(
    database: str, connection: psycopg.Connection, migrated: object, damage: str, named: str
) -> None:
    changed = connection.execute(damage.encode()).rowcount
    assert changed > 0
    differences = count_independently(database).differences(migrated)  # type: ignore[arg-type]
    assert any(difference.startswith(f"{named}:") for difference in differences), differences
