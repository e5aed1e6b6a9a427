"""The one Dagster instance that the command line, the UI and the daemon share."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from tenant_migration.orchestration.compat import hold_connections
from tenant_migration.orchestration.storage import refuse_same_database
from tenant_migration.quickstart.folders import ensure_dagster_home
from tenant_migration.resources import resource_path

FILE_NAME = "dagster.yaml"


@contextmanager
def shared_instance(database_url: str | None = None) -> Iterator[dg.DagsterInstance]:
    """Open the instance of Dagster's home.

    Args:
        database_url: the database to migrate, which must not be Dagster's storage.

    Raises:
        DatabaseUnavailable: Dagster's storage cannot be reached.
        Refused: Dagster's storage is the database to migrate.
    """
    home = prepare_home()
    if database_url is not None:
        refuse_same_database(database_url)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        hold_connections(instance)
        yield instance


def prepare_home() -> Path:
    """Make Dagster's home and its `dagster.yaml`; one that is there already stays as it is."""
    home = ensure_dagster_home()
    file = home / FILE_NAME
    if not file.exists():
        shutil.copyfile(resource_path(FILE_NAME), file)
    return home
