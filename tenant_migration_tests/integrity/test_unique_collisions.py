"""Collisions are found as the twin of the index would find them: its expressions, predicate and NULLs."""

from __future__ import annotations

import pytest

from tenant_migration.integrity.model import Outcome
from tenant_migration_tests.integrity.world import World, one

_OTHER_INDEX = "ALTER TABLE profiles DROP CONSTRAINT profiles_tenant_id_email_key; {}"
_SAME_BUT_FOR_CASE = (
    "UPDATE profiles SET email = 'Both@' WHERE id = 11; UPDATE profiles SET email = 'both@' WHERE id = 21"
)
_NO_ADDRESS = "UPDATE profiles SET email = NULL WHERE id IN (11, 21)"
_INCLUDED = "CREATE UNIQUE INDEX ON profiles (id) INCLUDE (tenant_id)"
_LOWER = "CREATE UNIQUE INDEX ON profiles (lower(email), tenant_id)"
_PERIODS = (
    "ALTER TABLE profiles ADD EXCLUDE USING gist ("
    "int4range(length(tenant_id), length(tenant_id), '[]') WITH =, int4range(id, id + {}) WITH &&) "
    "WHERE (id % 10 = 1)"
)
_EMAIL = "CREATE UNIQUE INDEX ON profiles (tenant_id, email)"


@pytest.fixture
def before(before: World) -> World:
    before.let_two_tenants_share()
    return before


@pytest.mark.parametrize(
    ("index", "rows", "count"),
    [
        pytest.param(_EMAIL, _SAME_BUT_FOR_CASE, 0, id="other values"),
        pytest.param(_LOWER, _SAME_BUT_FOR_CASE, 1, id="an expression"),
        pytest.param(
            f"{_LOWER} WHERE email LIKE 'B%'", _SAME_BUT_FOR_CASE, 0, id="one outside the predicate"
        ),
        pytest.param(f"{_LOWER} WHERE email ~* '^b{{1}}'", _SAME_BUT_FOR_CASE, 1, id="both in the predicate"),
        pytest.param(_EMAIL, _NO_ADDRESS, 0, id="nulls are distinct"),
        pytest.param(f"{_EMAIL} NULLS NOT DISTINCT", _NO_ADDRESS, 1, id="nulls are not distinct"),
        pytest.param(
            "CREATE UNIQUE INDEX ON profiles ((tenant_id || ':' || lower(email)))",
            _SAME_BUT_FOR_CASE,
            1,
            id="the key within an expression",
        ),
        pytest.param(
            "CREATE UNIQUE INDEX ON profiles (md5(tenant_id), email)",
            _SAME_BUT_FOR_CASE,
            0,
            id="the key within an expression, other values",
        ),
        pytest.param(
            "CREATE UNIQUE INDEX ON profiles (lower(tenant_id)) WHERE id IN (11, 21, 31)",
            _SAME_BUT_FOR_CASE,
            1,
            id="the key alone, within a predicate",
        ),
        pytest.param(
            "CREATE UNIQUE INDEX ON profiles (email) WHERE tenant_id LIKE 'alpha%'",
            _SAME_BUT_FOR_CASE,
            0,
            id="in the predicate alone, where it keeps no tenants apart",
        ),
        pytest.param(_PERIODS.format(15), _NO_ADDRESS, 1, id="an exclusion constraint: periods overlap"),
        pytest.param(_PERIODS.format(5), _NO_ADDRESS, 0, id="an exclusion constraint: periods do not"),
        pytest.param(
            "ALTER TABLE profiles ADD EXCLUDE USING btree (tenant_id WITH =, lower(email) WITH =)",
            f"{_SAME_BUT_FOR_CASE}; UPDATE profiles SET email = NULL WHERE id IN (12, 22)",
            1,
            id="an exclusion constraint: equal values",
        ),
        pytest.param(_INCLUDED, _NO_ADDRESS, None, id="not in the key"),
    ],
)
def test_the_twin_of_the_index_decides(before: World, index: str, rows: str, count: int | None) -> None:
    before.execute(_OTHER_INDEX.format(index))
    before.execute(rows)
    result = one(
        before.check("pre-migration", tables=["public.profiles"]), "unique_collisions", "public.profiles"
    )
    if count is None:
        reason = "no unique index and no exclusion constraint contains the tenant key"
        assert (result.outcome, result.reason) == (Outcome.SKIPPED, reason)
    else:
        assert (result.outcome is Outcome.FAILED, result.count) == (count > 0, count)
        assert list(result.details.get("indexes", {}).values()) == ([count] if count else [])


def test_tenants_of_different_organizations_do_not_collide(before: World) -> None:
    before.execute("UPDATE profiles SET email = 'both@example.org' WHERE id IN (11, 31)")
    result = one(before.check("pre-migration"), "unique_collisions", "public.profiles")
    assert result.outcome is Outcome.PASSED
    before.execute("DELETE FROM tenant_org_mappings WHERE tenant_id = 'alpha-two'")
    result = one(before.check("pre-migration"), "unique_collisions", "public.profiles")
    assert (result.outcome, result.reason) == (Outcome.SKIPPED, "no two tenants go to one organization")


@pytest.mark.newest_server_by_default
@pytest.mark.parametrize(
    ("check", "column"),
    [("unique_collisions", "tenant_id"), ("organization_collisions", "organization_id")],
)
def test_an_index_of_a_partition_alone_decides_there(before: World, check: str, column: str) -> None:
    before.execute(
        "ALTER TABLE readings ADD COLUMN organization_id uuid; "
        f"CREATE UNIQUE INDEX ON readings_2025 ({column}, taken_on) WHERE id IN (11, 21, 12, 22)"
    )
    result = one(before.check("pre-migration"), check, "public.readings")
    assert (result.outcome, result.count) == (Outcome.FAILED, 1)
