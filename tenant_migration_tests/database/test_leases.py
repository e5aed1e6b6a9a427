"""The right to write to (table, tenant) belongs to one at a time."""

from __future__ import annotations

import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import psycopg
import pytest

from tenant_migration.database.connection import connect, transaction
from tenant_migration_tests.database.scene import Scene

ACQUIRE = """
    SELECT acquired, conflicting_holder
    FROM tenant_migration.acquire_lease(%s, %s, %s, %s, %s, %s::interval)
"""


@dataclass(frozen=True)
class Claimed:
    """What the leases are about."""

    table: int
    other_table: int
    tenant: int
    other_tenant: int
    run: int


@pytest.fixture
def claimed(scene: Scene) -> Claimed:
    table, other_table = scene.manage("claims", "profiles")
    numbers = scene.map("acme", "globex")
    return Claimed(table, other_table, numbers["acme"], numbers["globex"], scene.run())


def freeze(scene: Scene, claimed: Claimed) -> None:
    """Let the run have the mapping as it is now, as a run does when it starts."""
    scene.execute(
        "INSERT INTO tenant_migration.run_tenants SELECT %s, 'text', n.tenant_number, n.tenant_id,"
        " m.organization_id FROM tenant_org_mappings m JOIN tenant_migration.tenants n USING (tenant_id)",
        claimed.run,
    )


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE tenant_org_mappings SET organization_id = (SELECT id FROM organizations o"
        " WHERE o.id <> organization_id LIMIT 1) WHERE tenant_id = 'acme'",
        "DELETE FROM tenant_org_mappings WHERE tenant_id = 'acme'",
    ],
    ids=["changed", "deleted"],
)
def test_a_run_whose_mapping_changed_since_it_started_gets_no_lease(
    scene: Scene, claimed: Claimed, change: str
) -> None:
    """Between the start of a run and its first lease nothing holds the mapping: its rows would go astray."""
    freeze(scene, claimed)
    assert scene.execute(change) == 1
    for tenant in (claimed.tenant, None):
        with pytest.raises(psycopg.errors.DatabaseError, match="mapping of tenant 'acme' changed") as refused:
            scene.lease(claimed.table, tenant, claimed.run)
        assert refused.value.sqlstate == "TM002"
    assert scene.value("SELECT count(*) FROM tenant_migration.leases") == 0
    assert scene.lease(claimed.table, claimed.other_tenant, claimed.run)[1] is True


def test_a_mapping_that_is_just_being_changed_is_waited_for(
    scene: Scene, claimed: Claimed, database: str
) -> None:
    freeze(scene, claimed)
    with psycopg.connect(database) as editor:
        editor.execute("DELETE FROM tenant_org_mappings WHERE tenant_id = 'acme'")
        with (
            connect(database) as connection,
            pytest.raises(psycopg.errors.LockNotAvailable),
            transaction(connection, lock_timeout_ms=100),
        ):
            connection.execute(
                ACQUIRE.encode(), (uuid.uuid4(), claimed.table, None, claimed.run, "anna", "1 min")
            )


@pytest.mark.parametrize(
    ("first", "second", "given"),
    [
        ("tenant", "tenant", False),
        ("tenant", "other_tenant", True),
        (None, "tenant", False),
        ("tenant", None, False),
        (None, None, False),
    ],
)
def test_one_at_a_time_and_all_tenants_conflict_with_each(
    scene: Scene, claimed: Claimed, first: str | None, second: str | None, given: bool
) -> None:
    def number(name: str | None) -> int | None:
        return getattr(claimed, name) if name else None

    assert scene.lease(claimed.table, number(first), claimed.run, holder="anna on host a, run 1")[1:] == (
        True,
        None,
    )
    _, acquired, conflicting = scene.lease(claimed.table, number(second), claimed.run, holder="bob")
    assert acquired is given
    assert conflicting == (None if given else "anna on host a, run 1")
    assert scene.lease(claimed.other_table, number(second), claimed.run)[1] is True  # another table is free


def test_the_same_token_is_renewed(scene: Scene, claimed: Claimed) -> None:
    token, _, _ = scene.lease(claimed.table, None, claimed.run, ttl="1 second")
    expiry = scene.value("SELECT expires_at FROM tenant_migration.leases")
    assert scene.rows(ACQUIRE, token, claimed.table, None, claimed.run, "run", "1 hour") == [(True, None)]
    assert scene.value("SELECT expires_at - %s > interval '30 minutes' FROM tenant_migration.leases", expiry)


def test_a_token_of_another_lease_is_not_given_a_second_one(scene: Scene, claimed: Claimed) -> None:
    token, _, _ = scene.lease(claimed.table, claimed.tenant, claimed.run, holder="anna")
    assert scene.rows(ACQUIRE, token, claimed.other_table, None, claimed.run, "run", "1 hour") == [
        (False, "anna")
    ]


def test_an_expired_lease_is_taken_over(scene: Scene, claimed: Claimed) -> None:
    token, _, _ = scene.lease(claimed.table, claimed.tenant, claimed.run, ttl="200 milliseconds")
    unrelated, _, _ = scene.lease(claimed.other_table, claimed.tenant, claimed.run, ttl="200 milliseconds")
    time.sleep(0.3)
    successor, acquired, _ = scene.lease(claimed.table, None, claimed.run)
    assert acquired
    assert {row[0] for row in scene.rows("SELECT token FROM tenant_migration.leases")} == {
        successor,
        unrelated,
    }
    assert token != successor  # whoever still holds the old token renews nothing
    assert (
        scene.execute("UPDATE tenant_migration.leases SET heartbeat_at = now() WHERE token = %s", token) == 0
    )


def test_a_holder_in_the_middle_of_a_batch_is_not_robbed(
    scene: Scene, claimed: Claimed, database: str
) -> None:
    token, _, _ = scene.lease(claimed.table, None, claimed.run, ttl="300 milliseconds", holder="anna")
    with connect(database) as holder, connect(database) as robber, ThreadPoolExecutor(1) as pool:
        with transaction(holder):  # the batch renews first, then works longer than the lease lasted
            holder.execute(
                "UPDATE tenant_migration.leases SET expires_at = clock_timestamp() + interval '1 minute' "
                "WHERE token = %s",
                [token],
            )
            time.sleep(0.5)

            def rob() -> tuple[bool, str | None]:
                with transaction(robber, lock_timeout_ms=5000):
                    row = robber.execute(
                        ACQUIRE, [uuid.uuid4(), claimed.table, None, claimed.run, "bob", "1 minute"]
                    ).fetchone()
                assert row is not None
                return row[0], row[1]

            robbing = pool.submit(rob)
            time.sleep(0.3)
            assert not robbing.done()
        assert robbing.result() == (False, "anna")
    assert scene.value("SELECT token FROM tenant_migration.leases") == token


def test_the_table_itself_refuses_what_overlaps(scene: Scene, claimed: Claimed) -> None:
    scene.lease(claimed.table, claimed.tenant, claimed.run)
    with pytest.raises(psycopg.errors.ExclusionViolation):
        scene.execute(
            "INSERT INTO tenant_migration.leases (token, table_id, tenant_scope, run_id, holder, expires_at) "
            "VALUES (gen_random_uuid(), %s, '(,)', %s, 'bob', now() + interval '1 hour')",
            claimed.table,
            claimed.run,
        )


def test_of_many_that_ask_at_once_one_gets_it(scene: Scene, claimed: Claimed, database: str) -> None:
    workers, rounds = 6, 15
    barrier = threading.Barrier(workers)

    def ask(worker: int) -> list[bool]:
        given = []
        with connect(database) as connection:
            for attempt in range(rounds):
                scope = claimed.tenant if (worker + attempt) % 2 else None
                token = uuid.uuid4()
                barrier.wait()
                row = connection.execute(
                    ACQUIRE, [token, claimed.table, scope, claimed.run, f"worker {worker}", "1 minute"]
                ).fetchone()
                assert row is not None
                given.append(row[0])
                barrier.wait()
                connection.execute("DELETE FROM tenant_migration.leases WHERE token = %s", [token])
                barrier.wait()
        return given

    with ThreadPoolExecutor(workers) as pool:
        answers = list(pool.map(ask, range(workers)))
    assert [sum(column) for column in zip(*answers, strict=True)] == [1] * rounds
    assert scene.value("SELECT count(*) FROM tenant_migration.leases") == 0
