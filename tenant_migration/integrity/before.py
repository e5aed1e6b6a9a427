"""The checks before a migration."""

from __future__ import annotations

from collections.abc import Sequence

from tenant_migration.config import MigrationConfig
from tenant_migration.integrity.facts import Connection
from tenant_migration.integrity.model import CheckResult
from tenant_migration.integrity.runner import run_checks
from tenant_migration.planning.model import Plan


def run_checks_before(
    connection: Connection,
    plan: Plan,
    config: MigrationConfig,
    *,
    tables: Sequence[str] | None = None,
    tenants: Sequence[str] | None = None,
    only: Sequence[str] | None = None,
) -> list[CheckResult]:
    """Judge whether the data is fit to be migrated. Reads only.

    Args:
        connection: outside of a transaction.
        plan: tables, relations, organizations.
        config: what `validation` allows, skips and how bad it calls things.
        tables: names (`schema.table`). None: every table and the database as a whole. Empty: the database
            as a whole alone. Else these tables alone.
        tenants: judge the rows of these alone. None: all rows.
        only: names of checks; None: all.

    Returns:
        One result for each check and table; of checks that look at references, one for each reference.

    Raises:
        UnknownTable, ConfigurationError: a name that does not exist.
        DatabaseUnavailable: the connection was lost.
    """
    return run_checks(connection, plan, config, "pre-migration", tables=tables, tenants=tenants, only=only)
