"""Which runs Dagster's queue lets go at the same time, with the `dagster.yaml` that we ship."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest

from tenant_migration import migrate_tenant
from tenant_migration.config import load_config
from tenant_migration.database.connection import connect
from tenant_migration.orchestration import plan_file
from tenant_migration.orchestration.instance import FILE_NAME, prepare_home
from tenant_migration.orchestration.partitions import sync
from tenant_migration.planning.builder import build_plan
from tenant_migration.planning.storage import store_plan
from tenant_migration_tests.orchestration.conftest import App
from tenant_migration_tests.orchestration.queue import Queue, queue
from tenant_migration_tests.orchestration.versions import newest_server_only

pytestmark = newest_server_only

QUEUED, SUCCESS = dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.SUCCESS


@pytest.fixture
def running(app: App, instance: dg.DagsterInstance, tmp_path: Path) -> Iterator[Queue]:
    """Dagster's queue, with the plan and the partitions in place; who finds a lease held waits for it."""
    file = tmp_path / "migration.yaml"
    file.write_text(file.read_text().replace("lease_wait_s: 0.2", "lease_wait_s: 90"))
    connection = connect(app.url)
    try:
        plan = build_plan(connection, load_config())
        store_plan(connection, plan, "the test")
        plan_file.write(plan)
        sync(instance, connection, app.config)
    finally:
        connection.close()
    with queue(instance) as opened:
        yield opened


@contextmanager
def held_up(app: App, table: str, tenant: str) -> Iterator[None]:
    """Keep whatever works on a table and a tenant waiting, as a run elsewhere does."""
    [(token,)] = app.query(
        "WITH run AS (INSERT INTO tenant_migration.runs (kind, actor, tool_version, host, process_id)"
        "             VALUES ('migrate', 'another', '0', 'elsewhere', 1) RETURNING run_id)"
        " INSERT INTO tenant_migration.leases (token, table_id, tenant_scope, run_id, holder, expires_at)"
        " SELECT gen_random_uuid(), t.table_id, int4range(n.tenant_number, n.tenant_number, '[]'),"
        "        run.run_id, 'the other run', now() + interval '1 hour'"
        " FROM run, tenant_migration.managed_tables t, tenant_migration.tenants n"
        " WHERE t.table_name = %s AND n.tenant_id = %s RETURNING token",
        table,
        tenant,
    )
    yield
    app.execute("DELETE FROM tenant_migration.leases WHERE token = %s", token)


def wait_until_working(app: App, run_id: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if app.query("SELECT FROM tenant_migration.runs WHERE dagster_run_id = %s", run_id):
            return
        time.sleep(0.2)
    raise AssertionError(f"run {run_id} did not begin to work")


def test_one_tenant_is_never_migrated_and_rolled_back_at_the_same_time(app: App, running: Queue) -> None:
    """A backfill of rollbacks over two tenants, of which one is being migrated."""
    one, other = app.tenants[:2]
    migrate_tenant(other, database_url=app.url, config=load_config())
    with held_up(app, "profiles", one):
        migration = running.launch("migrate", tenant=one)
        running.step()
        wait_until_working(app, migration)
        rollbacks = running.backfill("rollback", [one, other])
        running.step()
        assert running.wait(rollbacks[other]) is SUCCESS
        running.step()
        assert running.status(rollbacks[one]) is QUEUED
    assert running.wait(migration) is SUCCESS
    assert {app.states()[table.qualified_name, one] for table in app.plan.tables} == {"completed"}
    running.step()
    assert running.wait(rollbacks[one]) is SUCCESS
    assert set(app.states().values()) == {"rolled_back"}


@pytest.fixture
def one_place(home: Path) -> None:
    """The queue has place for one run of a tenant at a time instead of four."""
    file = prepare_home() / FILE_NAME
    file.write_text(file.read_text().replace("        limit: 4\n", "        limit: 1\n"))


def test_an_emergency_stop_does_not_wait_in_the_queue(one_place: None, app: App, running: Queue) -> None:
    one, other = app.tenants[:2]
    with held_up(app, "profiles", one):
        first = running.launch("migrate", tenant=one)
        running.step()
        wait_until_working(app, first)
        waiting = running.launch("migrate", tenant=other)
        running.step()
        assert running.status(waiting) is QUEUED
        emergency = running.launch("emergency_rollback")
        running.step()
        assert running.wait(emergency) is SUCCESS
    assert running.wait(first) is not SUCCESS
    assert running.status(waiting) is dg.DagsterRunStatus.CANCELED
    assert set(app.states().values()) <= {"rolled_back", "cancelled"}
    assert app.rows_by_tenant("profiles") == {}
