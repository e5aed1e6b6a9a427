"""One grouped scan says what the rows hold: NULL, unmapped, allowed, differing; or why it did not."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from tenant_migration.catalog.reader import read_catalog
from tenant_migration.config import MigrationConfig
from tenant_migration.database.connection import connect
from tenant_migration.database.install import install
from tenant_migration.planning.builder import build_plan
from tenant_migration.planning.discovery import discover
from tenant_migration.planning.model import HazardLevel, Plan
from tenant_migration.planning.tenant_values import count_tenant_values
from tenant_migration_tests import schemas
from tenant_migration_tests.planning.conftest import table_of
from tenant_migration_tests.servers import Server

Load = Callable[[str], psycopg.Connection]


def prepared(load: Load, schema: str, mapping: dict[str, int]) -> psycopg.Connection:
    connection = load(schema)
    install(connection, MigrationConfig())
    schemas.map_tenants(connection, mapping)
    return connection


def hazards(plan: Plan, table: str) -> dict[str, str]:
    return {hazard.name: hazard.detail for hazard in table_of(plan, table).hazards}


def test_before_install_nulls_are_counted_and_mappings_are_not_known(
    plan_schema: Callable[..., Plan],
) -> None:
    plan = plan_schema("null_keys")
    assert "2 rows of 5 without a tenant" in hazards(plan, "templates")["null_tenant_keys"]
    assert "unmapped_tenants" not in hazards(plan, "templates")
    unknown = next(hazard for hazard in plan.hazards if hazard.name == "mapping_unknown")
    assert unknown.detail == "unmapped tenants: not known: not installed"


def test_unmapped_tenants_are_counted_and_allowed_ones_told_apart(load_schema: Load) -> None:
    connection = prepared(load_schema, "null_keys", {"acme": 1})
    found = hazards(build_plan(connection, MigrationConfig()), "templates")
    assert found["unmapped_tenants"] == ("2 rows of 2 tenants without a mapping: 'globex' (1), 'system' (1)")
    allowed = MigrationConfig.model_validate(
        {"validation": {"allowed_unmapped_tenants": ["system", "nobody"]}}
    )
    found = hazards(build_plan(connection, allowed), "templates")
    assert found["unmapped_tenants"].startswith("1 row of 1 tenant without a mapping: 'globex'")
    assert found["allowed_unmapped_tenants"].startswith("1 row of tenants that may stay")


def test_a_required_tenant_is_said_to_be_required(load_schema: Load) -> None:
    connection = load_schema("null_keys")
    config = MigrationConfig.model_validate({"tables": {"templates": {"tenant_required": True}}})
    assert (
        "tenant_required makes `validate` fail"
        in hazards(build_plan(connection, config), "templates")["null_tenant_keys"]
    )


def test_every_type_of_key_meets_its_mapping(load_schema: Load) -> None:
    """One mapping for all types: most of its texts cannot be cast to most of the tables' types."""
    tenants = {"acme": 1, "globex": 2, "1": 1, "2.0": 2, "2": 2}
    uuids = {"B0000000-0000-4000-8000-00000000000A": 1, "{b0000000-0000-4000-8000-00000000000b}": 2}
    connection = prepared(load_schema, "key_types", {**tenants, **uuids})
    plan = build_plan(connection, MigrationConfig())
    assert {t.table_name: t.estimate.rows for t in plan.tables} == {t.table_name: 3 for t in plan.tables}
    assert not [t for t in plan.tables if "unmapped_tenants" in hazards(plan, t.qualified_name)]
    connection.execute("DELETE FROM public.tenant_org_mappings WHERE tenant_id IN ('globex', '1')")
    plan = build_plan(connection, MigrationConfig())
    unmapped = {
        t.table_name: hazards(plan, t.qualified_name).get("unmapped_tenants", "") for t in plan.tables
    }
    assert unmapped.pop("by_uuid") == ""
    assert {
        text.split(" rows")[0] for name, text in unmapped.items() if name in ("by_integer", "by_numeric")
    } == {"2"}
    assert "1 row of 1 tenant" in unmapped["by_enum"]


def test_free_text_tenants_are_each_their_own(load_schema: Load) -> None:
    connection = prepared(load_schema, "free_text_tenants", {"acme": 1, "o'brien-gmbh": 2, "00123": 3})
    found = hazards(build_plan(connection, MigrationConfig()), "notes")["unmapped_tenants"]
    assert found.startswith("14 rows of 7 tenants without a mapping")
    for tenant in ("'ACME'", "'123'", "' acme'", "'café 東京'", "''"):
        assert tenant in found


def test_at_most_ten_examples_are_shown_and_the_count_is_exact(load_schema: Load) -> None:
    connection = prepared(load_schema, "null_keys", {})
    connection.execute(
        "INSERT INTO public.templates SELECT n, 'tenant ' || n, '' FROM generate_series(10, 40) AS n"
    )
    found = hazards(build_plan(connection, MigrationConfig()), "templates")["unmapped_tenants"]
    assert found.startswith("34 rows of 34 tenants")
    assert found.endswith("and 24 more")


@pytest.mark.parametrize(("choice", "level"), [("refuse", "refuse"), ("keep", "info"), ("overwrite", "info")])
def test_rows_whose_organization_is_not_the_mapped_one(load_schema: Load, choice: str, level: str) -> None:
    connection = prepared(load_schema, "existing_organization", {"acme": 1, "globex": 2})
    config = MigrationConfig.model_validate({"defaults": {"on_existing_value": choice}})
    plan = build_plan(connection, config)
    found = next(h for h in table_of(plan, "half_done").hazards if h.name == "existing_values_differ")
    assert found.level is HazardLevel(level)
    assert found.detail.startswith("1 row with an organization that is not the mapped one")
    assert "existing_values_differ" not in hazards(plan, "never_null"), "its values are the mapped ones"


def test_rows_that_wait_are_estimated_from_the_count(load_schema: Load) -> None:
    connection = prepared(load_schema, "existing_organization", {"acme": 1, "globex": 2})
    connection.execute("ANALYZE public.half_done")
    plan = build_plan(connection, MigrationConfig())
    assert table_of(plan, "half_done").estimate.rows == 1, "two of three have an organization"
    assert (
        table_of(build_plan(connection, MigrationConfig(), count_rows=False), "half_done").estimate.rows == 3
    )


def test_a_scan_that_takes_too_long_is_told_as_not_counted(load_schema: Load) -> None:
    connection = load_schema("null_keys")
    connection.execute(
        "INSERT INTO public.templates SELECT n, md5(n::text), 'x' FROM generate_series(10, 200000) AS n"
    )
    config = MigrationConfig.model_validate({"defaults": {"statement_timeout_ms": 100}})
    plan = build_plan(connection, config)
    (found,) = [h for h in table_of(plan, "templates").hazards if h.name == "tenants_not_counted"]
    assert found.level is HazardLevel.WARN
    assert "not counted: statement timeout after 0.1 s" in found.detail


def test_a_table_that_another_session_has_locked_is_told_as_not_counted(
    load_schema: Load, database: str
) -> None:
    connection = load_schema("null_keys")
    catalog_is_read = threading.Event()

    class LocksBeforeCounting(psycopg.Connection):
        """Takes the lock between the catalog and the count, where it hurts."""

        def execute(self, query: Any, *args: Any, **kwargs: Any) -> Any:
            if "tenant_org_mappings" in str(query) and not catalog_is_read.is_set():
                catalog_is_read.set()
                connection.execute("BEGIN; LOCK TABLE public.templates IN ACCESS EXCLUSIVE MODE")
            return super().execute(query, *args, **kwargs)

    with LocksBeforeCounting.connect(database, autocommit=True) as reader:
        plan = build_plan(reader, MigrationConfig())
    connection.execute("ROLLBACK")
    assert "another session holds the table's lock" in hazards(plan, "templates")["tenants_not_counted"]


def test_when_the_time_for_all_tables_is_used_up_the_rest_is_told_as_not_counted(load_schema: Load) -> None:
    connection = load_schema("key_types")
    config = MigrationConfig()
    managed = discover(read_catalog(connection, config), config).managed
    ticks = iter(range(0, 1000, 2))
    values = count_tenant_values(
        connection, managed, config, mapping_known=False, clock=lambda: float(next(ticks)), total_seconds=9
    )
    reasons = [value.not_counted for value in values.values()]
    assert reasons[:4] == [None] * 4
    assert reasons[4:] == ["the time for all tables together is used up"] * 5


def test_the_scan_leaves_the_connection_as_it_was(load_schema: Load, database: str) -> None:
    load_schema("null_keys")
    with connect(database, read_only=True) as reader:
        build_plan(reader, MigrationConfig())
        assert reader.info.transaction_status is psycopg.pq.TransactionStatus.IDLE


def test_rows_that_no_run_fills_are_taken_off_the_estimate_once(load_schema: Load) -> None:
    """A row without a tenant, or of one without a mapping, may have an organization already."""
    connection = prepared(load_schema, "existing_organization", {"acme": 1})
    connection.execute("ALTER TABLE public.half_done ALTER COLUMN tenant_id DROP NOT NULL")
    connection.execute(
        "INSERT INTO public.half_done SELECT 10 + n, tenant_id, 'a0000000-0000-4000-8000-000000000001' "
        "FROM generate_series(1, 3) AS n, (VALUES (NULL), ('nobody')) AS t (tenant_id) "
        "WHERE n < 3 OR tenant_id IS NULL ON CONFLICT DO NOTHING"
    )
    assert table_of(build_plan(connection, MigrationConfig()), "half_done").estimate.rows == 1


def test_overwritten_values_are_rows_to_write(load_schema: Load) -> None:
    connection = prepared(load_schema, "existing_organization", {"acme": 1, "globex": 2})
    config = MigrationConfig.model_validate({"defaults": {"on_existing_value": "overwrite"}})
    assert table_of(build_plan(connection, config), "half_done").estimate.rows == 2


def test_a_role_that_may_not_read_the_mapping_is_told_so(
    load_schema: Load, connection: psycopg.Connection, server: Server
) -> None:
    prepared(load_schema, "null_keys", {"acme": 1})
    with psycopg.connect(server.superuser_url(), autocommit=True) as superuser:
        superuser.execute(
            "DO $$ BEGIN CREATE ROLE plan_stranger LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$"
        )
    with psycopg.connect(server.url(connection.info.dbname, "plan_stranger"), autocommit=True) as stranger:
        plan = build_plan(stranger, MigrationConfig())
    unknown = next(hazard for hazard in plan.hazards if hazard.name == "mapping_unknown")
    assert unknown.detail == (
        "unmapped tenants: not known: role plan_stranger may not read all of public.tenant_org_mappings"
    )
    assert "install`" not in unknown.way_out


def test_a_table_that_is_gone_meanwhile_is_told_as_not_counted(load_schema: Load) -> None:
    connection = load_schema("null_keys")
    config = MigrationConfig()
    managed = discover(read_catalog(connection, config), config).managed
    connection.execute("DROP TABLE public.templates")
    values = count_tenant_values(connection, managed, config, mapping_known=False)
    assert [found.not_counted for found in values.values()] == ['relation "public.templates" does not exist']
