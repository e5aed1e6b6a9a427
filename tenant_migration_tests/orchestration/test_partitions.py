"""Partitions and mappings are the same set, whoever changed the mappings."""

from __future__ import annotations

import hashlib

import dagster as dg
import pytest

from tenant_migration.config import DATABASE_URL_VARIABLE
from tenant_migration.database.connection import connect
from tenant_migration.orchestration.build import build_definitions
from tenant_migration.orchestration.partition_keys import KEY_BYTES_MAX, partition_key
from tenant_migration.orchestration.partitions import ADDED_AT_ONCE, sync
from tenant_migration_tests.orchestration.conftest import App, Dagster
from tenant_migration_tests.orchestration.plans import small_plan
from tenant_migration_tests.orchestration.versions import newest_server_only

pytestmark = newest_server_only

TOO_LONG = "".join(hashlib.sha512(b"%d" % number).hexdigest() for number in range(17))[: KEY_BYTES_MAX + 100]
"""And no text that compresses: the primary key of the mappings takes 2,700 bytes."""


def keys(instance: dg.DagsterInstance) -> set[str]:
    return set(instance.get_dynamic_partitions("tenants"))


def tick(
    app_definitions: dg.Definitions, name: str, instance: dg.DagsterInstance, cursor: str | None = None
) -> str:
    """Evaluate a sensor as the daemon does; return what it says."""
    context = dg.build_sensor_context(instance=instance, definitions=app_definitions, cursor=cursor)
    result = app_definitions.resolve_sensor_def(name)(context)
    assert isinstance(result, dg.SkipReason)
    return result.skip_message or ""


def test_new_tenants_are_added_and_vanished_ones_removed(app: App, instance: dg.DagsterInstance) -> None:
    with connect(app.url) as connection:
        first = sync(instance, connection, app.config)
        assert set(first.added) == keys(instance) == set(app.tenants)
        gone, stays = app.tenants[0], set(app.tenants[1:])
        app.execute("DELETE FROM tenant_org_mappings WHERE tenant_id = %s", gone)
        app.execute(
            "INSERT INTO tenant_org_mappings (tenant_id, organization_id)"
            " SELECT given, (SELECT id FROM organizations LIMIT 1) FROM unnest(%s::text[]) AS given",
            ["new one", "with, comma", ""],
        )
        second = sync(instance, connection, app.config)
        assert set(second.added) == {"new one", "with%2C comma", "%"}
        assert second.removed == (gone,)
        assert keys(instance) == stays | set(second.added)
        third = sync(instance, connection, app.config)
        assert (third.added, third.removed) == ((), ())


def test_an_id_that_is_too_long_for_a_key_is_left_out_and_holds_nobody_up(app: App, dagster: Dagster) -> None:
    renamed, other = app.tenants[:2]
    for table in ("tenant_org_mappings", "precedents"):
        app.execute(f"UPDATE {table} SET tenant_id = %s WHERE tenant_id = %s", TOO_LONG, renamed)
    with connect(app.url) as connection:
        assert sync(dagster.instance, connection, app.config).left_out == (TOO_LONG,)
    said = tick(dagster.definitions, "tenant_partitions", dagster.instance)
    assert f"1 tenant without a partition, as keys would be longer than 2,000 bytes ({TOO_LONG[:40]}" in said
    assert keys(dagster.instance) == set(app.tenants) - {renamed}

    assert dagster.run("migrate", tenant=other, tables=["precedents"]).success
    assert dagster.run("migrate_all", ops={"start": {"tables": ["precedents"]}}).success
    assert dagster.run("dry_run", tenant=other, ops={"dry_run_tables": {"tables": ["precedents"]}}).success
    assert dagster.run("verify_all").success
    tick(dagster.definitions, "reconcile", dagster.instance)
    assert app.states()["public.precedents", TOO_LONG] == "completed"
    assert app.rows_by_tenant("precedents")[TOO_LONG] > 0
    assert dagster.materialized("precedents") == set(app.tenants) - {renamed}


def test_more_tenants_than_fit_into_one_statement(app: App, instance: dg.DagsterInstance) -> None:
    app.execute(
        "INSERT INTO tenant_org_mappings (tenant_id, organization_id)"
        " SELECT 'bulk ' || n, (SELECT id FROM organizations LIMIT 1) FROM generate_series(1, %s) AS n",
        ADDED_AT_ONCE + 3,
    )
    with connect(app.url) as connection:
        sync(instance, connection, app.config)
    assert len(keys(instance)) == ADDED_AT_ONCE + 3 + len(app.tenants)


def test_the_sensor_synchronises(app: App, instance: dg.DagsterInstance) -> None:
    definitions = build_definitions(app.plan)
    assert (
        tick(definitions, "tenant_partitions", instance) == f"{len(app.tenants)} partitions added, 0 removed"
    )
    assert keys(instance) == set(app.tenants)


def test_the_sensor_without_a_database_says_so_and_does_not_fail(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(DATABASE_URL_VARIABLE, raising=False)
    assert DATABASE_URL_VARIABLE in tick(build_definitions(small_plan()), "tenant_partitions", instance)


def test_every_job_brings_the_partitions_up_to_date(app: App, dagster: Dagster) -> None:
    app.execute(
        "INSERT INTO tenant_org_mappings (tenant_id, organization_id)"
        " SELECT 'late', id FROM organizations LIMIT 1"
    )
    assert "late" not in keys(dagster.instance)
    assert dagster.run("migrate", tenant=app.tenants[0], tables=["profiles"]).success
    assert partition_key("late") in keys(dagster.instance)
