"""Rows that a unique index on the organization will refuse are counted as PostgreSQL will refuse them."""

from __future__ import annotations

import psycopg
import pytest

from tenant_migration_tests.integrity.world import World, one, organization_of

_ALPHA = organization_of("alpha")
_OTHER_INDEX = "ALTER TABLE archive DROP CONSTRAINT archive_organization_id_shelf_key; {}"


@pytest.fixture
def before(before: World) -> World:
    before.let_two_tenants_share()
    return before


@pytest.mark.parametrize(
    ("index", "rows", "count"),
    [
        pytest.param("", "(1, 'alpha', NULL, 'A'), (2, 'beta', NULL, 'A')", 0, id="other organizations"),
        pytest.param("", "(1, 'alpha', NULL, 'A'), (2, 'alpha', NULL, 'A')", 1, id="one tenant"),
        pytest.param("", f"(1, 'beta', '{_ALPHA}', 'A'), (2, 'alpha', NULL, 'A')", 1, id="a filled row"),
        pytest.param("", "(1, 'alpha', NULL, NULL), (2, 'alpha', NULL, NULL)", 0, id="nulls are distinct"),
        pytest.param("", "(1, 'ghost', NULL, 'A'), (2, 'ghost', NULL, 'A')", 0, id="no mapping"),
        pytest.param(
            "CREATE UNIQUE INDEX ON archive (lower(shelf), organization_id) "
            "WHERE organization_id IS NOT NULL",
            "(1, 'alpha', NULL, 'a'), (2, 'alpha-two', NULL, 'A'), (3, 'alpha', NULL, 'a')",
            2,
            id="an expression and a predicate",
        ),
        pytest.param(
            "CREATE UNIQUE INDEX ON archive (coalesce(organization_id::text, tenant_id || id), shelf)",
            "(1, 'alpha', NULL, 'A'), (2, 'alpha-two', NULL, 'A'), (3, 'alpha', NULL, 'B')",
            1,
            id="within an expression",
        ),
        pytest.param(
            "CREATE UNIQUE INDEX ON archive (shelf) WHERE organization_id IS NOT NULL",
            "(1, 'alpha', NULL, 'A'), (2, 'beta', NULL, 'A'), (3, 'ghost', NULL, 'A')",
            1,
            id="in the predicate alone: rows come in by their organization",
        ),
        pytest.param(
            "ALTER TABLE archive ADD EXCLUDE USING btree (organization_id WITH =, shelf WITH =)",
            f"(1, 'beta', '{_ALPHA}', 'A'), (2, 'alpha', NULL, 'A'), (3, 'alpha-two', NULL, 'A'),"
            " (4, 'beta', NULL, 'A'), (5, 'alpha', NULL, NULL), (6, 'alpha', NULL, NULL)",
            2,
            id="an exclusion constraint: equal values",
        ),
        pytest.param(
            "ALTER TABLE archive ADD EXCLUDE USING gist (int4range(id, id + 5) WITH &&) "
            "WHERE (organization_id IS NOT NULL)",
            "(1, 'alpha', NULL, 'A'), (3, 'beta', NULL, 'A'), (20, 'beta', NULL, 'A'), "
            "(4, 'ghost', NULL, 'A')",
            1,
            id="an exclusion constraint: overlapping values",
        ),
        pytest.param(
            "CREATE UNIQUE INDEX ON archive (shelf) INCLUDE (organization_id)",
            "(1, 'alpha', NULL, 'a'), (2, 'alpha-two', NULL, 'b')",
            None,
            id="not in the key",
        ),
    ],
)
def test_the_index_on_the_rows_as_they_will_be_decides(
    before: World, index: str, rows: str, count: int | None
) -> None:
    if index:
        before.execute(_OTHER_INDEX.format(index))
    before.execute(f"INSERT INTO archive VALUES {rows}")
    results = before.check("pre-migration", tables=["public.archive"])
    result = one(results, "organization_collisions", "public.archive")
    assert result.count == (count or 0)
    if count is None:
        assert result.reason == "no unique index and no exclusion constraint contains the organization column"
    refused = 0
    for number in (1, 2, 3, 4, 5, 6):
        try:
            before.execute(
                "UPDATE archive AS t SET organization_id = m.organization_id FROM tenant_org_mappings AS m "
                "WHERE m.tenant_id = t.tenant_id AND t.organization_id IS NULL AND t.id = %s",
                number,
            )
        except (psycopg.errors.UniqueViolation, psycopg.errors.ExclusionViolation):
            refused += 1
    assert refused == result.count, "as PostgreSQL does"


def test_only_what_the_asked_tenants_bring_along_is_counted(before: World) -> None:
    before.execute(
        "INSERT INTO archive VALUES (1, 'alpha', NULL, 'A'), (2, 'alpha', NULL, 'A'), (3, 'beta', NULL, 'B')"
    )
    for tenant, count in (("alpha", 1), ("beta", 0)):
        results = before.check("pre-migration", tables=["public.archive"], tenants=[tenant])
        assert one(results, "organization_collisions", "public.archive").count == count
