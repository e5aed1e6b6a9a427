"""A process that migrates one table and may be killed: what the tests of crashes start.

    python -m tenant_migration_tests.backfill.worker public.claims

Takes the database from the environment; prints the result's rows when it ends by itself.
"""

from __future__ import annotations

import sys

from tenant_migration.backfill.engine import backfill_table
from tenant_migration.backfill.runs import finish_run, start_run
from tenant_migration.backfill.states import State, set_pair_states
from tenant_migration.config import MigrationConfig, database_url
from tenant_migration.database.connection import connect
from tenant_migration.planning.builder import build_plan
from tenant_migration.planning.storage import store_plan, table_ids


def main(name: str) -> None:
    """Plan, run, complete."""
    defaults = {"batch_size": 100, "adaptive": False, "lease_wait_s": 20, "lease_ttl_s": 5}
    with connect(database_url()) as connection:
        plan = build_plan(connection, MigrationConfig.model_validate({"defaults": defaults}))
        store_plan(connection, plan, "worker")
        table = plan.table(name)
        if table is None:
            raise SystemExit(f"{name} is not in the plan")
        run = start_run(connection, plan, actor="worker")
        result = backfill_table(connection, plan, table, run)
        set_pair_states(
            connection,
            table_id=table_ids(connection)[name],
            tenant_numbers=list(run.tenants.values()),
            state=State.COMPLETED,
            actor="worker",
            reason=None,
            run_id=run.run_id,
        )
        finish_run(connection, run, State.COMPLETED)
        sys.stdout.write(f"{result.rows_migrated} {result.rows_remaining}\n")


if __name__ == "__main__":
    main(sys.argv[1])
