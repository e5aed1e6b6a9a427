"""Every hazard of every small schema, exactly: what is told, what is not, and what refuses."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from tenant_migration.config import MigrationConfig
from tenant_migration.planning import hazards
from tenant_migration.planning.builder import build_plan
from tenant_migration.planning.model import HazardLevel, Plan
from tenant_migration_tests import schemas

COMMON = "tenant_index_missing"
"""Most of these tables have no index on the key; asserted apart."""

# schema -> table -> hazards as `level name`, without COMMON; a table that is not named has none.
TABLE_HAZARDS: dict[str, dict[str, set[str]]] = {
    "awkward_names": {},
    "business_organization_column": {
        "public.departments": {
            "refuse organization_column_type",
            "refuse organization_column_in_primary_key",
        },
        "public.staff": {"refuse organization_column_type", "warn composite_foreign_key_on_organization"},
    },
    "cascade_on_organization": {
        "public.teams": {"refuse cascade_on_organization", "warn unique_on_organization"},
        "public.members": {"warn composite_foreign_key_on_organization"},
    },
    "checks": {},
    "composite_keys": {},
    "cycles": {},
    "deferrable": {
        "public.accounts": {"info deferrable_constraints"},
        "public.entries": {"info deferrable_constraints"},
    },
    "dependents": {},
    "derivable": {},
    "event_trigger": {},
    "existing_organization": {
        "public.in_unique": {"refuse organization_column_unique"},
        "public.in_unique_with_meaning": {"warn unique_on_organization"},
        "public.never_null": {"info organization_column_not_null"},
        "public.refers_elsewhere": {"refuse organization_column_refers_elsewhere"},
        "public.with_check": {"warn check_on_organization"},
        "public.with_default": {"warn organization_column_default"},
    },
    "foreign_key_only": {"public.two_references": {"refuse several_tenant_keys"}},
    "foreign_tables": {
        "public.elsewhere": {"refuse foreign_table"},
        "public.mixed": {"refuse foreign_partition", "info no_row_identity"},
    },
    "free_text_tenants": {},
    "generated": {
        "public.from_target": {"warn generated_from_organization"},
        "public.target_is_generated": {"refuse organization_column_generated"},
    },
    "inheritance": {"public.vehicles": {"refuse inheritance_children"}},
    "key_types": {},
    "no_foreign_key": {},
    "not_comparable": {"public.documents": {"refuse tenant_key_not_comparable"}},
    "null_keys": {"public.templates": {"warn null_tenant_keys"}},
    "organizations_bigint": {},
    "organizations_elsewhere": {},
    "partitions": {"public.spread": {"info no_row_identity"}},
    "partitions_with_triggers": {"public.events": {"refuse trigger_writes_elsewhere"}},
    "publication_filters": {
        "public.filtered": {"refuse publication_refuses_updates"},
        "public.filtered_by_key": {"info published"},
        "public.filtered_root": {"refuse publication_refuses_updates"},
        "public.list_and_full": {"refuse publication_refuses_updates", "warn publication_column_list"},
        "public.list_without_key": {"refuse publication_refuses_updates", "warn publication_column_list"},
        "public.own_check": {"warn constraint_not_valid", "info no_row_identity"},
    },
    "publications": {
        "public.full_identity": {"info published", "info no_row_identity"},
        "public.only_inserts": {"info no_row_identity"},
        "public.published": {"info published"},
        "public.published_root": {"refuse publication_without_replica_identity", "info no_row_identity"},
        "public.some_columns": {"warn publication_column_list", "info published"},
        "public.without_identity": {"refuse publication_without_replica_identity", "info no_row_identity"},
    },
    "row_security": {
        "public.child_of_forced": {"refuse row_security_active_on_parent"},
        "public.enabled": {"info row_security_bypassed"},
        "public.forced": {"refuse row_security_active"},
        "public.forced_without_policy": {"refuse row_security_active"},
    },
    "rules": {"public.ruled": {"refuse update_rule"}},
    "several_schemas": {},
    "triggers": {
        "public.audits": {"refuse trigger_writes_elsewhere"},
        "public.by_statement": {"refuse trigger_writes_elsewhere"},
        "public.calls_unknown": {"refuse trigger_writes_elsewhere"},
        "public.dynamic": {"refuse trigger_writes_elsewhere"},
        "public.guarded": {"info trigger_guarded"},
        "public.guarded_inside": {"info trigger_guarded"},
        "public.notifies": {"refuse trigger_writes_elsewhere"},
        "public.notifies_by_command": {"refuse trigger_writes_elsewhere"},
        "public.old_on_delete": {"info trigger_fires"},
        "public.on_organization": {"refuse trigger_writes_elsewhere"},
        "public.only_looks": {"info trigger_fires"},
        "public.raises": {"refuse trigger_raises"},
        "public.skips": {"refuse trigger_skips_rows"},
        "public.touches": {"refuse trigger_changes_columns"},
    },
    "two_key_names": {"public.Both": {"refuse several_tenant_keys"}},
    "unlogged": {"public.sessions": {"info unlogged"}},
    "without_primary_key": {
        "public.no_key": {"info no_row_identity"},
        "public.unique_deferrable": {"info no_row_identity", "info deferrable_constraints"},
        "public.unique_expression": {"info no_row_identity"},
        "public.unique_not_null": {"info no_primary_key"},
        "public.unique_nullable": {"info no_row_identity"},
        "public.unique_partial": {"info no_row_identity", "warn null_tenant_keys"},
    },
}
DATABASE_HAZARDS: dict[str, set[str]] = {
    "checks": {"info functions_name_the_key"},
    "dependents": {
        "info views_name_the_key",
        "info materialized_views_name_the_key",
        "info functions_name_the_key",
        "info policies_name_the_key",
    },
    "event_trigger": {"info event_triggers"},
    "organizations_bigint": {"refuse organizations_id_type", "info organizations_column_missing"},
    "row_security": {"info policies_name_the_key"},
    "triggers": {"info functions_name_the_key"},
}
# These need more than a schema: another role, a mapping, a standby.
TESTED_ELSEWHERE = {
    "allowed_unmapped_tenants",
    "ambiguous_name",
    "exclusion_on_organization",
    "existing_values_differ",
    "mapping_unknown",
    "no_right",
    "no_right_to_create",
    "no_tables",
    "not_owner",
    "organization_column_places_rows",
    "organizations_active_missing",
    "organizations_active_type",
    "organizations_id_missing",
    "organizations_id_not_unique",
    "organizations_missing",
    "organizations_no_right",
    "row_security_active_on_organizations",
    "standby",
    "tenant_index_missing",
    "tenant_key_is_array",
    "tenants_not_counted",
    "unmapped_tenants",
}


@pytest.mark.parametrize("schema", schemas.NAMES)
def test_each_schema_has_exactly_the_hazards_that_it_was_made_with(
    schema: str, plan_schema: Callable[..., Plan]
) -> None:
    plan = plan_schema(schema)
    found = {
        table.qualified_name: names
        for table in plan.tables
        if (names := {f"{h.level.value} {h.name}" for h in table.hazards if h.name != COMMON})
    }
    assert found == TABLE_HAZARDS[schema]
    of_database = {f"{hazard.level.value} {hazard.name}" for hazard in plan.hazards}
    assert of_database - {"info mapping_unknown"} == DATABASE_HAZARDS.get(schema, set())
    assert "info mapping_unknown" in of_database
    for hazards_of_one in (plan.hazards, *(table.hazards for table in plan.tables)):
        ranks = [list(HazardLevel).index(hazard.level) for hazard in hazards_of_one]
        assert ranks == sorted(ranks), "what refuses comes first"
        assert all(hazard.detail and hazard.way_out for hazard in hazards_of_one)


def test_every_hazard_in_the_code_is_planted_in_a_schema_or_has_a_test_of_its_own() -> None:
    sources = "\n".join(path.read_text() for path in Path(hazards.__file__).parent.glob("*.py"))
    in_code = set(re.findall(r"(?:refuse|warn|info|report)\(\s*\"(\w+)\"", sources))
    in_code |= {
        f"{plural}_name_the_key" for plural in ("views", "materialized_views", "functions", "policies")
    }
    planted = {
        name.split()[1]
        for of_schema in (*TABLE_HAZARDS.values(), {"": set().union(*DATABASE_HAZARDS.values())})
        for names in of_schema.values()
        for name in names
    }
    assert in_code == planted | TESTED_ELSEWHERE
    assert not planted & TESTED_ELSEWHERE
    others = "\n".join(p.read_text() for p in Path(__file__).parent.glob("test_*.py") if p != Path(__file__))
    assert {name for name in TESTED_ELSEWHERE - {COMMON} if f'"{name}"' not in others} == set()


def test_an_index_that_leads_with_the_key_is_found(plan_schema: Callable[..., Plan]) -> None:
    claims = plan_schema("dependents").tables[0]
    assert claims.tenant_index == "claims_tenant_id_idx"
    assert not [hazard for hazard in claims.hazards if hazard.name == COMMON]


@pytest.mark.parametrize(
    "definition",
    [
        "CREATE INDEX ON public.named (id, tenant_id)",
        "CREATE INDEX ON public.named (tenant_id) WHERE id > 0",
        "CREATE INDEX ON public.named (lower(tenant_id))",
        "CREATE INDEX ON public.named USING brin (tenant_id)",
    ],
    ids=["not leading", "partial", "expression", "brin"],
)
def test_an_index_by_which_a_tenant_cannot_be_found_does_not_count(
    definition: str, load_schema: Callable[[str], psycopg.Connection]
) -> None:
    connection = load_schema("foreign_key_only")
    connection.execute(definition)
    table = build_plan(connection, MigrationConfig()).table("public.named")
    assert table is not None
    assert table.tenant_index is None
    assert COMMON in {hazard.name for hazard in table.hazards}
