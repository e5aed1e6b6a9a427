"""Any order of steps of an application and the engine, interruptions too, against the ledger."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tenant_migration.backfill.engine import backfill_table
from tenant_migration.backfill.results import Progress, Selection
from tenant_migration.backfill.runs import finish_run, start_run
from tenant_migration.backfill.states import State
from tenant_migration.database.connection import connect
from tenant_migration.planning.storage import load_plan
from tenant_migration.recovery.rollback.engine import roll_back_table
from tenant_migration.recovery.runs import start_rollback
from tenant_migration_tests.backfill.conftest import ACTOR, World, table_of
from tenant_migration_tests.recovery.live_application import WRONG_ROWS, Application
from tenant_migration_tests.servers import Server

TENANTS = ("alpha", "beta")
SCHEMAS: dict[str, Any] = {"schemas": {"include": ["public"]}}
SETTINGS: dict[str, Any] = {
    "batch_size": 2,
    "adaptive": False,
    "on_existing_value": "keep",
    "lease_wait_s": 0,
    "retry_attempts": 3,
}

_OURS = "c.organization_id IS NOT NULL AND l.organization IS NULL"

_OPEN_ENTRIES = """
SELECT e.key, e.number, j.batch_id, w.organization_id
FROM tenant_migration.journal_{id} j
CROSS JOIN LATERAL unnest(j.key_1, j.tenant_numbers) AS e (key, number)
JOIN tenant_migration.run_tenants w
  ON w.run_id = j.run_id AND w.tenant_number = e.number AND w.key_type = '"pg_catalog"."text"'
WHERE j.phase <> 'kept' AND j.closed_at IS NULL AND e.number <> ALL (j.closed_tenants)"""

claims = st.integers(min_value=1, max_value=12)
"""Few rows, so that the same one is met again and again."""
tenants = st.sampled_from(TENANTS)
scopes = st.sampled_from([None, ["alpha"], ["beta"], ["alpha", "beta"]])
interruptions = st.sampled_from(["none"] * 6 + ["asked to stop", "killed", "connection lost"])


class _InterruptedError(BaseException):
    """As Ctrl-C, or Dagster's."""


class RecoveryMachine(RuleBasedStateMachine):
    """One database for each example, copied from a template with the tool, an empty table and its plan."""

    server: Server
    template: str

    def __init__(self) -> None:
        super().__init__()
        self.database = self.server.create_database(self.template)
        url = self.server.url(self.database)
        self.world = World(url, connect(url), SCHEMAS)
        self.plan = load_plan(self.world.connection)
        self.application_connection = psycopg.connect(url, autocommit=True)
        self.application = Application(self.application_connection, TENANTS, self.organizations())

    def organizations(self) -> list[str]:
        return [row[0] for row in self.world.sql("SELECT id::text FROM public.organizations ORDER BY name")]

    # The application

    @initialize(rows=st.lists(tenants, min_size=3, max_size=9))
    def first_rows(self, rows: list[str]) -> None:
        for tenant in rows:
            self.application.insert(tenant)

    @rule(tenant=tenants, organization=st.sampled_from([None, None, 0, 1]))
    def insert(self, tenant: str, organization: int | None) -> None:
        chosen = None if organization is None else self.application.organizations[organization]
        self.application.insert(tenant, chosen)

    @rule(claim=claims)
    def pay(self, claim: int) -> None:
        self.application.pay(claim)

    @rule(claim=claims, organization=st.integers(0, 1))
    def assign(self, claim: int, organization: int) -> None:
        self.application.assign(claim, self.application.organizations[organization])

    @rule(claim=claims)
    def write_back(self, claim: int) -> None:
        self.application.write_back(claim)

    @rule(claim=claims)
    def clear(self, claim: int) -> None:
        self.application.clear(claim)

    @rule(claim=claims, tenant=tenants)
    def move(self, claim: int, tenant: str) -> None:
        self.application.move(claim, tenant)

    @rule(claim=claims)
    def delete(self, claim: int) -> None:
        self.application.delete(claim)

    @rule(claim=claims)
    def delete_and_insert_again(self, claim: int) -> None:
        self.application.delete_and_insert_again(claim)

    # The engine

    @rule(scope=scopes, interruption=interruptions, after=st.integers(1, 4))
    def migrate(self, scope: list[str] | None, interruption: str, after: int) -> None:
        run = start_run(self.world.connection, self.plan, selection=Selection(tenants=scope), actor=ACTOR)
        table = table_of(self.plan, "public.claims")
        self._perform(
            lambda progress: backfill_table(
                self.world.connection, self.plan, table, run, tenants=scope, progress=progress
            ),
            interruption,
            after,
        )
        finish_run(self.world.connection, run, State.COMPLETED)

    @precondition(lambda self: self.was_migrated())
    @rule(scope=scopes, interruption=interruptions, after=st.integers(1, 4))
    def roll_back(self, scope: list[str] | None, interruption: str, after: int) -> None:
        run = start_rollback(
            self.world.connection, self.plan, selection=Selection(tenants=scope), actor=ACTOR
        )
        scope = None if scope is None else [tenant for tenant in scope if tenant in run.tenants]
        if scope == []:  # nothing of them was ever migrated
            finish_run(self.world.connection, run, State.ROLLED_BACK)
            return
        table = table_of(self.plan, "public.claims")
        ended = self._perform(
            lambda progress: roll_back_table(
                self.world.connection, self.plan, table, run, tenants=scope, progress=progress
            ),
            interruption,
            after,
        )
        finish_run(self.world.connection, run, State.ROLLED_BACK)
        if not ended:
            return
        left = f"SELECT count(*) FROM ({self.open_entries()}) e JOIN tenant_migration.tenants n"
        left += " ON n.tenant_number = e.number WHERE %s::text[] IS NULL OR n.tenant_id = ANY (%s::text[])"
        assert self.world.one(left, scope, scope) == 0, "an entry in scope is still open"
        if scope is None:
            assert self.world.sql(WRONG_ROWS) == [], "not what the application wrote"

    def _perform(
        self, work: Callable[[Callable[[Progress], None] | None], object], interruption: str, after: int
    ) -> bool:
        """Do the work, interrupted after some events; say whether it came to its end."""
        events = 0

        def interrupt(event: Progress) -> None:
            nonlocal events
            events += 1
            if events != after:
                return
            if interruption != "asked to stop":
                self._end_connections(let_new_ones_in=interruption == "connection lost")
            if interruption != "connection lost":
                raise _InterruptedError

        try:
            work(None if interruption == "none" else interrupt)
        except _InterruptedError:
            return False
        finally:
            if self.world.connection.closed:
                self._end_connections(let_new_ones_in=True)
                self.world.connection = connect(self.world.url)
                # The time passes in which a dead run's lease is nobody else's.
                self.world.sql("UPDATE tenant_migration.leases SET expires_at = clock_timestamp()")
        return True

    def _end_connections(self, *, let_new_ones_in: bool) -> None:
        """End the engine's connections, as a lost network does; without new ones it is as good as killed."""
        with psycopg.connect(self.server.superuser_url(), autocommit=True) as superuser:
            superuser.execute(f"ALTER DATABASE {self.database} ALLOW_CONNECTIONS {let_new_ones_in}")
            superuser.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s"
                " AND application_name LIKE 'tenant_migration%%'",
                (self.database,),
            )

    # What always holds

    def was_migrated(self) -> bool:
        return bool(
            self.world.one(
                "SELECT EXISTS (SELECT FROM tenant_migration.table_states WHERE state <> 'pending')"
            )
        )

    def open_entries(self) -> str:
        return _OPEN_ENTRIES.format(id=self.world.table_id("public.claims"))

    @invariant()
    def everything_but_the_organization_is_the_applications(self) -> None:
        wrong = self.world.sql(
            "SELECT id FROM public.claims c FULL JOIN public.ledger l USING (id)"
            " WHERE c.id IS NULL OR l.id IS NULL"
            " OR (c.tenant_id, c.payload) IS DISTINCT FROM (l.tenant, l.payload)"
        )
        assert wrong == []

    @invariant()
    def what_the_application_wrote_wins(self) -> None:
        wrong = self.world.sql(
            "SELECT id FROM public.claims c JOIN public.ledger l USING (id) WHERE l.organization IS NOT NULL"
            " AND c.organization_id IS DISTINCT FROM l.organization"
        )
        assert wrong == []

    @precondition(lambda self: self.was_migrated())
    @invariant()
    def each_row_that_we_wrote_is_in_the_journal(self) -> None:
        wrong = self.world.sql(
            f"WITH entries AS ({self.open_entries()})"
            f" SELECT id FROM public.claims c JOIN public.ledger l USING (id) WHERE {_OURS}"
            " AND NOT EXISTS (SELECT FROM entries e"
            "                 WHERE e.key = c.id AND e.organization_id = c.organization_id)"
        )
        assert wrong == []

    def teardown(self) -> None:
        """Take everything back: what is left is what the application wrote."""
        try:
            if self.was_migrated():
                self.roll_back(None, "none", 0)
            assert self.world.sql(WRONG_ROWS) == []
        finally:
            self.world.connection.close()
            self.application_connection.close()
            self.server.drop_database(self.database)
