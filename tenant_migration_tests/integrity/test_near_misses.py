"""Keys without a mapping are listed beside the tenant that they only resemble."""

from __future__ import annotations

import unicodedata

import pytest

from tenant_migration.integrity.model import Outcome
from tenant_migration_tests.integrity.world import LINE_ITEMS, UUID_TENANTS, World, one, organization_of

_UUID_AS_TEXT = "6f1b5e0a-0000-4000-8000-0000000000aa"
_CAFE = "Café"
_FEDERATION = "00000000-0000-4000-8000-000000000002"

NEAR_MISSES = {
    "ALPHA": "alpha",
    " alpha": "alpha",
    "al pha\t": "alpha",
    "alpha\u00a0": "alpha",
    "\u200balpha\ufeff": "alpha",
    "o'brien local": "O'Brien Local",
    "100 %": "100%",
    unicodedata.normalize("NFD", _CAFE): _CAFE,
    f"{{{_UUID_AS_TEXT.upper()}}}": _UUID_AS_TEXT,
    _UUID_AS_TEXT.replace("-", ""): _UUID_AS_TEXT,
    "": None,
    "  ": None,
    "NULL": None,
    "null": None,
    "ghost": "nobody that is mapped",
    "alph": "nobody that is mapped",
    "al-pha": "nobody that is mapped",
}
"""Value of a row -> the tenant it resembles, None for no tenant at all."""

RESEMBLING = {value: tenant for value, tenant in NEAR_MISSES.items() if tenant != "nobody that is mapped"}


@pytest.fixture
def world(before: World) -> World:
    for number, tenant in enumerate((_CAFE, _UUID_AS_TEXT)):
        before.execute(
            "INSERT INTO organizations VALUES (%s, NULL, %s)",
            organization_of("102")[:-3] + f"90{number}",
            tenant,
        )
        before.execute(
            "INSERT INTO tenant_org_mappings (tenant_id, organization_id) VALUES (%s, %s)",
            tenant,
            organization_of("102")[:-3] + f"90{number}",
        )
    return before


def test_each_near_miss_is_named_with_its_tenant_and_nothing_else_is(world: World) -> None:
    for number, value in enumerate(NEAR_MISSES):
        world.execute("INSERT INTO claims VALUES (%s, %s, NULL, NULL, '')", number, value)
    found = {}
    for value in NEAR_MISSES:
        result = one(world.check("pre-migration", tenants=[value]), "tenants_have_mapping", "public.claims")
        assert (result.outcome, result.count) == (Outcome.FAILED, 1)
        found |= result.details.get("resembles", {})
    assert found == RESEMBLING
    result = one(world.check("pre-migration"), "tenants_have_mapping", "public.claims")
    assert (result.count, result.details["resembling"]) == (len(NEAR_MISSES), len(RESEMBLING))
    assert len(result.details["resembles"]) == 10
    assert result.details["resembles"].items() <= RESEMBLING.items()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("ALPHA ", "near misses: 'ALPHA ' looks like 'alpha'"),
        ("alpha\u00a0", r"near misses: 'alpha\xa0' looks like 'alpha'"),
        (unicodedata.normalize("NFD", _CAFE), r"near misses: 'Cafe\u0301' looks like 'Caf\xe9'"),
        ("NULL", "near misses: 'NULL' looks like no tenant at all"),
    ],
)
def test_a_person_can_tell_the_two_apart(world: World, value: str, text: str) -> None:
    world.execute("INSERT INTO claims VALUES (1, %s, NULL, NULL, '')", value)
    result = one(world.check("pre-migration"), "tenants_have_mapping", "public.claims")
    assert result.description == f"Tenant IDs without organization mapping; {text}"
    assert result.recommendation is not None
    assert "correct the rows" in result.recommendation


def test_a_tenant_that_resembles_nobody_is_told_as_before(world: World) -> None:
    world.execute("INSERT INTO claims VALUES (1, 'ghost', NULL, NULL, '')")
    result = one(world.check("pre-migration"), "tenants_have_mapping", "public.claims")
    assert result.description == "Tenant IDs without organization mapping"
    assert "resembles" not in result.details


def test_keys_of_a_type_of_their_own_have_no_near_misses_but_their_mapping(world: World) -> None:
    """A uuid in any spelling is the same key."""
    world.execute(
        "UPDATE tenant_org_mappings SET tenant_id = upper(%s) WHERE tenant_id = %s",
        f"{{{UUID_TENANTS[0]}}}",
        UUID_TENANTS[0],
    )
    assert one(world.check("pre-migration"), "tenants_have_mapping", LINE_ITEMS).outcome is Outcome.PASSED
