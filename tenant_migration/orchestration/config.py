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


class ChecksConfig(TablesConfig):
    """Checks alone, of many tenants."""

    tenants: list[str] = Field(
        default_factory=list,
        description="Only these tenants (their ids, not partition keys). Empty: every tenant.",
        max_length=100_000,
    )


class BackupConfig(TablesConfig):
    """A backup of one tenant's rows."""

    directory: str = Field(
        default="",
        description="Folder on the machine of this run to export it to as well. "
        "Empty: `backups.directory` of the configuration file, if that is set.",
    )


class BackupAllConfig(BackupConfig):
    """A backup of whole tables, or of some tenants' rows."""

    tenants: list[str] = Field(
        default_factory=list,
        description="Only rows of these tenants (their ids, not partition keys). Empty: whole tables.",
        max_length=100_000,
    )


class BackupCleanupConfig(dg.Config):
    """Which backups go."""

    days: int | None = Field(
        default=None,
        description="Keep every backup younger than this. Not given: `backups.retention_days` of the "
        "configuration file. What is held, or what a rollback could still need, stays at any age.",
        ge=0,
        le=36_500,
    )
    dry_run: bool = Field(default=False, description="Drop nothing: say what would go and what would stay.")


class RollbackConfig(TablesConfig):
    """A rollback of one tenant."""

    with_children: bool = Field(
        default=False,
        description="The tables that refer to the chosen ones too. Otherwise a table whose children are "
        "migrated is refused, naming them.",
    )
    verify: bool = Field(
        default=True,
        description="Compare with the journal afterwards, and with a backup where one covers the tenant.",
    )
    from_backup: int | None = Field(
        default=None,
        description="Bring back the values of this backup instead of the journal's; rows that the "
        "application changed since are left alone in the same way.",
        ge=1,
    )


class RollbackAllConfig(RollbackConfig):
    """A rollback of everything, or of some tables and tenants."""

    confirm: str = Field(
        description="The name of the database, typed in: this takes back the work on all tenants.",
        min_length=1,
    )
    tenants: list[str] = Field(
        default_factory=list,
        description="Only these tenants (their ids, not partition keys). Empty: every tenant.",
        max_length=100_000,
    )
    drop_created: bool = Field(
        default=False,
        description="Also drop the columns, indexes and keys that the migration created. Refused while such "
        "a column holds a value, or something depends on it.",
    )


class EmergencyRollbackConfig(dg.Config):
    """The emergency stop. It asks for nothing: starting it is the decision."""

    reason: str = Field(
        default="",
        description="Why, for the audit log and for whoever is refused until `tenant-migration resume`.",
        max_length=1_000,
    )
