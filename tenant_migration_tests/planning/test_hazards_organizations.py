"""Organizations that cannot be referred to refuse the whole database, with the way out."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from tenant_migration.config import MigrationConfig
from tenant_migration.planning.builder import build_plan
from tenant_migration.planning.model import Plan
from tenant_migration_tests import schemas


def refusals(connection: psycopg.Connection, **organizations: object) -> dict[str, str]:
    config = MigrationConfig.model_validate({"organizations": organizations})
    return {hazard.name: hazard.detail for hazard in build_plan(connection, config).refusals}


@pytest.fixture
def loaded(connection: psycopg.Connection) -> psycopg.Connection:
    schemas.load(connection, "no_foreign_key")
    return connection


def test_a_table_that_does_not_exist_is_refused_with_the_nearest_name(loaded: psycopg.Connection) -> None:
    found = refusals(loaded, table="organisations")
    assert set(found) == {"organizations_missing"}
    assert "did you mean 'public.organizations'?" in found["organizations_missing"]


def test_a_key_column_that_does_not_exist_is_refused_with_the_nearest_name(
    loaded: psycopg.Connection,
) -> None:
    found = refusals(loaded, id="uid")
    assert set(found) == {"organizations_id_missing"}
    assert "did you mean 'id'?" in found["organizations_id_missing"]


def test_a_key_that_is_no_uuid_is_refused(loaded: psycopg.Connection) -> None:
    assert set(refusals(loaded, id="slug")) == {"organizations_id_type"}


@pytest.mark.parametrize(
    ("definition", "refused"),
    [
        ("CREATE UNIQUE INDEX ON public.organizations (other)", False),
        ("CREATE UNIQUE INDEX ON public.organizations (other) WHERE slug <> ''", True),
        ("CREATE UNIQUE INDEX ON public.organizations (other, slug)", True),
        ("CREATE INDEX ON public.organizations (other)", True),
    ],
    ids=["unique", "partial", "two columns", "not unique"],
)
def test_a_key_that_nothing_can_refer_to_is_refused(
    loaded: psycopg.Connection, definition: str, refused: bool
) -> None:
    loaded.execute("ALTER TABLE public.organizations ADD COLUMN other uuid DEFAULT gen_random_uuid()")
    loaded.execute(definition)
    assert ("organizations_id_not_unique" in refusals(loaded, id="other")) is refused


def test_optional_columns_that_are_missing_are_told_and_left_out(loaded: psycopg.Connection) -> None:
    config = MigrationConfig.model_validate(
        {"organizations": {"parent_id": "above", "slug": None, "name": "title"}}
    )
    plan = build_plan(loaded, config)
    assert plan.refusals == ()
    assert (plan.organizations.parent_id_column, plan.organizations.name_column) == (None, None)
    told = [hazard.detail for hazard in plan.hazards if hazard.name == "organizations_column_missing"]
    assert len(told) == 2, "a column that was said not to be there is not missed"
    assert "'above'" in told[0]
    assert "'title'" in told[1]


@pytest.mark.parametrize(
    ("column", "refusal"),
    [
        ("is_active", None),
        ("is_activ", "organizations_active_missing"),
        ("name", "organizations_active_type"),
    ],
)
def test_a_column_for_active_organizations_must_be_there_and_say_yes_or_no(
    loaded: psycopg.Connection, column: str, refusal: str | None
) -> None:
    loaded.execute("ALTER TABLE public.organizations ADD COLUMN is_active boolean")
    plan = build_plan(loaded, MigrationConfig.model_validate({"organizations": {"active": column}}))
    assert [hazard.name for hazard in plan.refusals] == ([refusal] if refusal else [])
    assert plan.organizations.active_column == column


def test_organizations_in_another_schema_under_other_names_are_resolved(
    plan_schema: Callable[..., Plan],
) -> None:
    plan = plan_schema("organizations_elsewhere")
    found = plan.organizations
    assert (found.schema_name, found.table_name, found.id_column) == ("directory", "Orgs", "orgId")
    assert (found.parent_id_column, found.slug_column, found.name_column) == ("partOf", "handle", "title")
    assert plan.refusals == ()
    assert [table.qualified_name for table in plan.tables] == ["directory.tickets"], (
        "the organizations are no managed table, though they have a column of the key's name"
    )
