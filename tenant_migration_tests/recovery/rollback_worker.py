"""A process that rolls one table back and may be killed: what the tests of crashes start.

    python -m tenant_migration_tests.recovery.rollback_worker public.claims

Takes the database from the environment; prints how many rows were restored when it ends by itself.
"""

from __future__ import annotations

import sys

from tenant_migration.backfill.runs import finish_run
from tenant_migration.backfill.states import State
from tenant_migration.config import MigrationConfig, database_url
from tenant_migration.database.connection import connect
from tenant_migration.planning.builder import build_plan
from tenant_migration.planning.storage import store_plan
from tenant_migration.recovery.rollback.engine import roll_back_table
from tenant_migration.recovery.runs import start_rollback


def main(name: str) -> None:
    """Plan, roll back."""
    defaults = {
        "batch_size": 100,
        "adaptive": False,
        "lease_wait_s": 20,
        "lease_ttl_s": 5,
        "on_existing_value": "keep",
        "on_triggers": "fire",
    }
    with connect(database_url()) as connection:
        plan = build_plan(connection, MigrationConfig.model_validate({"defaults": defaults}))
        store_plan(connection, plan, "worker")
        table = plan.table(name)
        if table is None:
            raise SystemExit(f"{name} is not in the plan")
        run = start_rollback(connection, plan, actor="worker")
        result = roll_back_table(connection, plan, table, run)
        finish_run(connection, run, State.ROLLED_BACK)
        sys.stdout.write(f"{result.rows_restored} {result.rows_failed}\n")


if __name__ == "__main__":
    main(sys.argv[1])
