"""The sensors: new tenants become partitions, and work done outside Dagster shows on the assets.

Neither launches a run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
import psycopg

from tenant_migration.config import MigrationConfig, database_url, load_config
from tenant_migration.database.connection import connect
from tenant_migration.database.install import require_installed
from tenant_migration.errors import NotInstalled, UsageError
from tenant_migration.orchestration import partitions
from tenant_migration.orchestration.reconcile import reconcile
from tenant_migration.planning.model import Plan

PARTITIONS_INTERVAL_SECONDS = 30
RECONCILE_INTERVAL_SECONDS = 60


def sensors(plan: Plan | None) -> list[dg.SensorDefinition]:
    """Return the sensors; without a plan there is nothing to show."""
    return [] if plan is None else [_partitions_sensor(), _reconcile_sensor(plan)]


def _partitions_sensor() -> dg.SensorDefinition:
    @dg.sensor(
        name="tenant_partitions",
        description="Makes the partitions equal to the mappings.",
        minimum_interval_seconds=PARTITIONS_INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def tenant_partitions(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        try:
            with _database() as (connection, config):
                changes = partitions.sync(context.instance, connection, config)
        except (UsageError, NotInstalled) as error:
            return dg.SkipReason(str(error))
        return dg.SkipReason(changes.as_text())

    return tenant_partitions


def _reconcile_sensor(plan: Plan) -> dg.SensorDefinition:
    @dg.sensor(
        name="reconcile",
        description="Reports on the assets what was migrated or rolled back outside Dagster: by the Python "
        "API, by psql, by a run that was killed before it could report.",
        minimum_interval_seconds=RECONCILE_INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def reconcile_sensor(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        try:
            with _database() as (connection, config):
                partitions.sync(context.instance, connection, config)
                reported = reconcile(context.instance, connection, plan, context.cursor)
        except (UsageError, NotInstalled) as error:
            return dg.SkipReason(str(error))
        context.update_cursor(reported.cursor)
        return dg.SkipReason(f"{reported.completed} completed and {reported.undone} undone pairs reported")

    return reconcile_sensor


@contextmanager
def _database() -> Iterator[tuple[psycopg.Connection, MigrationConfig]]:
    config = load_config()
    connection = connect(database_url(), application_name="tenant_migration dagster sensor", pin_path=True)
    try:
        require_installed(connection, config)
        yield connection, config
    finally:
        connection.close()
