"""A process that takes one backup and may be killed: what the tests of crashes start.

    python -m tenant_migration_tests.recovery.backup_worker [--tenant ID] [--directory DIR]

Takes the database from the environment; prints the backup's number when it ends by itself.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tenant_migration.config import MigrationConfig, database_url
from tenant_migration.database.connection import connect
from tenant_migration.planning.storage import load_plan
from tenant_migration.workflow.backup import take_backup


def main() -> None:
    """Back up by the stored plan."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tenant", action="append")
    parser.add_argument("--directory", type=Path)
    arguments = parser.parse_args()
    with connect(database_url()) as connection:
        backup = take_backup(
            connection,
            MigrationConfig(),
            load_plan(connection),
            actor="worker",
            tenants=arguments.tenant,
            directory=arguments.directory,
        )
        sys.stdout.write(f"{backup.backup_id}\n")


if __name__ == "__main__":
    main()
