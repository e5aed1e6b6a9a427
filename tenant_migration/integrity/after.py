"""The checks after a migration: of every (table, tenant) that is recorded as migrated."""

from __future__ import annotations

from collections.abc import Sequence

from tenant_migration.config import MigrationConfig
from tenant_migration.integrity.facts import Connection
from tenant_migration.integrity.model import CheckResult
from tenant_migration.integrity.runner import run_checks
from tenant_migration.planning.model import Plan


def run_checks_after(
    connection: Connection,
    plan: Plan,
    config: MigrationConfig,
    *,
    tables: Sequence[str] | None = None,
    tenants: Sequence[str] | None = None,
    only: Sequence[str] | None = None,
) -> list[CheckResult]:
    """Judge whether what is recorded as migrated (states verifying and completed) is. Reads only.

    Arguments, results and errors as `run_checks_before`; what is pending is one result, `pending_pairs`,
    over the tables in scope. `details["tenants"]` of a failed result names every tenant with a wrong row.
    """
    return run_checks(connection, plan, config, "post-migration", tables=tables, tenants=tenants, only=only)
