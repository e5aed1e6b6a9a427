"""The mapping's status, count and error follow from the states of the tenant's tables."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from tenant_migration.database.connection import connect, transaction
from tenant_migration_tests.database.scene import Scene

WAY = {
    "validating": ["validating"],
    "running": ["running"],
    "paused": ["running", "paused"],
    "throttled": ["running", "throttled"],
    "sweeping": ["running", "sweeping"],
    "verifying": ["running", "verifying"],
    "completed": ["running", "verifying", "completed"],
    "failed": ["failed"],
    "blocked": ["blocked"],
    "cancelled": ["cancelled"],
    "rolling_back": ["running", "rolling_back"],
    "rolled_back": ["running", "rolling_back", "rolled_back"],
    "pending": ["pending"],
}


@dataclass
class Tenant:
    """One tenant with three managed tables."""

    scene: Scene
    tables: list[int]
    number: int

    def set(self, *states: str | tuple[str, int], reason: str | None = None) -> None:
        for table, state in zip(self.tables, states, strict=False):
            name, rows = state if isinstance(state, tuple) else (state, 0)
            if name != "absent":
                self.scene.pair(table, self.number, *WAY[name], rows=rows, reason=reason)
        self.refresh()

    def refresh(self) -> None:
        self.scene.execute("SELECT tenant_migration.refresh_mapping_status(ARRAY[%s::int])", self.number)

    def quarantine(self, message: str) -> None:
        self.scene.execute(
            "INSERT INTO tenant_migration.quarantine (run_id, table_id, leaf, tenant_number, "
            "row_key, sqlstate, message) "
            "VALUES (%s, %s, 1, %s, '{\"id\": 1}', '23514', %s)",
            self.scene.run(),
            self.tables[0],
            self.number,
            message,
        )
        self.refresh()

    def mapping(self, *columns: str) -> tuple[Any, ...]:
        return self.scene.rows(
            f"SELECT {', '.join(columns)} FROM tenant_org_mappings WHERE tenant_id = 'acme'"
        )[0]


@pytest.fixture
def acme(scene: Scene) -> Tenant:
    tables = scene.manage("profiles", "claims", "documents")
    return Tenant(scene, tables, scene.map("acme")["acme"])


DERIVED: list[tuple[list[str | tuple[str, int]], str]] = [
    ([], "pending"),
    (["pending", "pending", "pending"], "pending"),
    (["running"], "in_progress"),
    (["validating"], "in_progress"),
    (["paused"], "in_progress"),
    (["throttled"], "in_progress"),
    (["sweeping"], "in_progress"),
    (["verifying"], "in_progress"),
    (["rolling_back"], "in_progress"),
    (["completed"], "in_progress"),
    (["completed", "completed"], "in_progress"),
    (["completed", "completed", "pending"], "in_progress"),
    (["completed", "completed", "completed"], "completed"),
    (["completed", "completed", "failed"], "failed"),
    (["completed", "failed", "blocked"], "failed"),
    (["blocked"], "pending"),
    (["completed", "blocked"], "in_progress"),
    (["cancelled"], "pending"),
    ([("cancelled", 5)], "in_progress"),
    (["rolled_back", "rolled_back", "rolled_back"], "rolled_back"),
    (["rolled_back"], "rolled_back"),  # all that was ever migrated is restored
    (["rolled_back", "completed", "rolled_back"], "in_progress"),
    (["rolled_back", "running"], "in_progress"),
    (["rolled_back", "failed"], "failed"),
]
"""(states of a tenant's tables, in order, and the status that follows)"""


def test_the_status_follows_from_the_states(scene: Scene) -> None:
    tables = scene.manage("profiles", "claims", "documents")
    names = [f"tenant {n}" for n in range(len(DERIVED))]
    numbers = scene.map(*names)
    for name, (states, _) in zip(names, DERIVED, strict=True):
        Tenant(scene, tables, numbers[name]).set(*states)
    found = dict(scene.rows("SELECT tenant_id, migration_status FROM tenant_org_mappings"))
    assert [(states, found[name]) for name, (states, _) in zip(names, DERIVED, strict=True)] == DERIVED


def test_a_quarantined_row_fails_the_tenant_until_it_is_resolved(acme: Tenant) -> None:
    acme.set("completed", "completed", "completed")
    acme.quarantine("violates check constraint x")
    assert acme.mapping("migration_status", "error_log", "migrated_at") == (
        "failed",
        "violates check constraint x",
        None,
    )
    acme.scene.execute("UPDATE tenant_migration.quarantine SET resolved_at = now()")
    acme.refresh()
    assert acme.mapping("migration_status", "error_log") == ("completed", None)


def test_the_count_is_of_rows_that_carry_our_value(acme: Tenant) -> None:
    acme.set(("running", 10), ("completed", 32))
    assert acme.mapping("record_count") == (42,)
    acme.scene.pair(acme.tables[1], acme.number, "rolling_back", rows=2)
    acme.refresh()
    assert acme.mapping("record_count") == (12,)


def test_when_and_by_whom_only_when_completed(acme: Tenant) -> None:
    acme.set("completed", "completed")
    assert acme.mapping("migrated_at", "migrated_by") == (None, None)
    acme.set("absent", "absent", "completed")
    migrated_at, migrated_by = acme.mapping("migrated_at", "migrated_by")
    assert migrated_by == "anna"
    assert migrated_at == acme.scene.value("SELECT max(updated_at) FROM tenant_migration.table_states")
    acme.refresh()
    assert acme.mapping("migrated_at") == (migrated_at,)
    for table in acme.tables:
        acme.scene.pair(table, acme.number, "rolling_back", "rolled_back")
    acme.refresh()
    assert acme.mapping("migration_status", "migrated_at", "migrated_by") == ("rolled_back", None, None)


def test_the_error_is_the_last_reason_and_goes_when_mended(acme: Tenant) -> None:
    acme.set("failed", reason="first")
    acme.set("absent", "failed", reason="second")
    acme.set("absent", "absent", "blocked", reason="parents are not done")
    assert acme.mapping("error_log") == ("second",)
    for table in acme.tables:
        acme.scene.pair(table, acme.number, "running", "verifying", "completed")
    acme.refresh()
    assert acme.mapping("migration_status", "error_log") == ("completed", None)


def test_a_retired_table_no_longer_decides_but_still_counts(acme: Tenant) -> None:
    acme.set("completed", "completed", ("failed", 9))
    acme.scene.execute(
        "UPDATE tenant_migration.managed_tables SET retired_at = now() WHERE table_id = %s", acme.tables[2]
    )
    acme.refresh()
    assert acme.mapping("migration_status", "record_count") == ("completed", 9)


def test_only_the_tenants_that_are_named_and_changed_are_written(acme: Tenant) -> None:
    globex = acme.scene.map("globex")["globex"]
    acme.scene.pair(acme.tables[0], globex, "running")
    acme.set("running")
    assert acme.scene.rows("SELECT tenant_id, migration_status FROM tenant_org_mappings ORDER BY 1") == [
        ("acme", "in_progress"),
        ("globex", "pending"),
    ]
    version = "SELECT xmin::text FROM tenant_org_mappings WHERE tenant_id = 'acme'"
    before = acme.scene.value(version)
    acme.refresh()
    assert acme.scene.value(version) == before


def test_two_tables_that_end_at_once_complete_the_tenant(acme: Tenant, database: str) -> None:
    acme.set("completed", "verifying", "verifying")
    finish = (
        "UPDATE tenant_migration.table_states SET state = 'completed', actor = 'anna' WHERE table_id = {}; "
        f"SELECT tenant_migration.refresh_mapping_status(ARRAY[{acme.number}])"
    )
    with connect(database) as first, connect(database) as second, ThreadPoolExecutor(1) as pool:

        def end_third() -> None:
            with transaction(second, lock_timeout_ms=5000):
                second.execute(finish.format(acme.tables[2]).encode())

        with transaction(first):
            first.execute(finish.format(acme.tables[1]).encode())
            ending = pool.submit(end_third)
            time.sleep(0.3)
            assert not ending.done()
        ending.result()
    assert acme.mapping("migration_status") == ("completed",)


def test_a_tenant_without_a_mapping_is_no_error(acme: Tenant) -> None:
    acme.scene.execute("DELETE FROM tenant_org_mappings")
    acme.set("running")
    assert acme.scene.rows("SELECT * FROM tenant_org_mappings") == []
