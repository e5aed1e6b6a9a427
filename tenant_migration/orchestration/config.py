"""Run configuration: what the launchpad offers. It mirrors the command line; every default is safe.

Belongs here: what one run is asked for. Settings of the migration itself are in `migration.yaml`. Credentials
are in the environment only and have no field here, since Dagster stores a run's configuration.
"""

from __future__ import annotations

import dagster as dg
from pydantic import Field


class MigrateTableConfig(dg.Config):
    """One table for one tenant."""

    skip_validation: bool = Field(
        default=False,
        description="Do not run the checks before the migration. The checks after it always run.",
    )
    skip_backup: bool = Field(
        default=False,
        description="Do not back up the rows first. The journal of each batch is written anyway.",
    )


class MigrateAllConfig(MigrateTableConfig):
    """Many tables for all tenants, in one pass over each table."""

    tables: list[str] = Field(
        default_factory=list,
        description="Only these tables, `schema.table` or `table`. Empty: every table of the plan.",
        max_length=10_000,
    )
    tenants: list[str] = Field(
        default_factory=list,
        description="Only these tenants (their ids, not partition keys). Empty: every tenant with a mapping.",
        max_length=100_000,
    )
    with_parents: bool = Field(
        default=False,
        description="The parents of the tables too. Otherwise a table with pending parents is refused.",
    )
    dry_run: bool = Field(
        default=False,
        description="Change nothing: say what would be done, as observations on the assets.",
    )


class TablesConfig(dg.Config):
    """Which tables an operation looks at."""

    tables: list[str] = Field(
        default_factory=list,
        description="Only these tables, `schema.table` or `table`. Empty: every table of the plan.",
        max_length=10_000,
    )
