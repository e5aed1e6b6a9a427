"""A process that migrates slowly and may freeze: what the tests of the emergency stop meet in full run.

    python -m tenant_migration_tests.recovery.slow_worker '{"freeze_at": "batch_before_commit:5"}'

Takes the database from the environment. Prints how each table ended, or the name of the error that ended it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections import Counter

from tenant_migration.backfill import failpoints
from tenant_migration.config import MigrationConfig, database_url
from tenant_migration.database.connection import connect
from tenant_migration.errors import TenantMigrationError
from tenant_migration.planning.storage import load_plan
from tenant_migration.workflow.migrate import migrate

DEFAULTS = {"batch_size": 50, "adaptive": False}
CONFIG = {"validation": {"allowed_unmapped_tenants": ["system"]}, "defaults": DEFAULTS}
"""What the plan has to be made with."""

_times: Counter[str] = Counter()


def main(pace_s: float = 0.0, freeze_at: str | None = None) -> None:
    """Migrate everything by the stored plan."""
    if freeze_at:
        failpoints.reach = _freezing(*freeze_at.split(":"))
    with connect(database_url()) as connection:
        try:
            outcomes = migrate(
                connection,
                MigrationConfig.model_validate(CONFIG),
                load_plan(connection),
                actor="worker",
                progress=lambda _: time.sleep(pace_s),
            )
        except TenantMigrationError as error:
            sys.stdout.write(f"{type(error).__name__}\n")
            return
    for outcome in outcomes:
        sys.stdout.write(f"{outcome.table} {outcome.state}\n")


def _freezing(wanted: str, nth: str) -> object:
    def reach(name: str) -> None:
        _times[name] += 1
        if name == wanted and _times[name] == int(nth):
            os.kill(os.getpid(), signal.SIGSTOP)

    return reach


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
