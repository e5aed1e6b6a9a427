"""The database to migrate, as a Dagster resource.

Its URL is an environment variable that is read when a connection is opened: definitions load without it. It
is no field of the resource, since the launchpad would offer one, and Dagster stores a run's configuration.
"""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import psycopg
from pydantic import Field

from tenant_migration.config import MigrationConfig, database_url, load_config
from tenant_migration.database.connection import connect

_RUN_ID_SHOWN = 8


class Database(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Opens connections to the database to migrate. Holds none: setting it up has no effect."""

    config_path: str = Field(
        default="",
        description="Configuration file. Empty: TENANT_MIGRATION_CONFIG, else migration.yaml if it is there.",
    )

    def connect(self, run_id: str) -> psycopg.Connection:
        """Open a connection that `pg_stat_activity` shows with the Dagster run.

        Raises:
            UsageError: the environment names no database.
            DatabaseUnavailable: it cannot be reached.
        """
        return connect(
            database_url(),
            application_name=f"tenant_migration dagster {run_id[:_RUN_ID_SHOWN]}",
            pin_path=True,
        )

    def load_config(self) -> MigrationConfig:
        """Read the configuration file as it is now."""
        return load_config(Path(self.config_path) if self.config_path else None)
