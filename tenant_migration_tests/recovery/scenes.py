"""What the tests of whole rollbacks share: migrating and taking back through the workflow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tenant_migration.config import MigrationConfig
from tenant_migration.integrity.model import CheckResult
from tenant_migration.planning.storage import load_plan
from tenant_migration.recovery.results import Backup
from tenant_migration.workflow.backup import take_backup
from tenant_migration.workflow.migrate import migrate
from tenant_migration.workflow.prepare import stored_or_new_plan
from tenant_migration.workflow.rollback import rollback
from tenant_migration.workflow.rollback_outcome import RollbackOutcome
from tenant_migration_tests.backfill.conftest import World

TABLE = "public.claims"


def config_of(world: World) -> MigrationConfig:
    """The world's settings; `system` may be without a mapping."""
    allowed = {"validation": {"allowed_unmapped_tenants": ["system"]}}
    return MigrationConfig.model_validate({**allowed, **world.settings})


def back_up(world: World, tenants: Sequence[str] | None = None) -> Backup:
    """Back up the whole table, or some tenants' rows."""
    config = config_of(world)
    plan = stored_or_new_plan(world.connection, config, actor="test")
    return take_backup(world.connection, config, plan, actor="test", tenants=tenants)


def migrate_all(world: World, tenants: Sequence[str] | None = None) -> None:
    """Migrate; every table has to be completed."""
    config = config_of(world)
    plan = stored_or_new_plan(world.connection, config, actor="test")
    outcomes = migrate(world.connection, config, plan, actor="test", tenants=tenants)
    assert {outcome.state for outcome in outcomes} == {"completed"}, outcomes


def take_back(world: World, **arguments: Any) -> RollbackOutcome:
    """Roll back; the outcome of the one table."""
    [outcome] = rollback(
        world.connection, config_of(world), load_plan(world.connection), actor="test", **arguments
    )
    return outcome


def checks_of(outcome: RollbackOutcome) -> dict[str, CheckResult]:
    """The verification by the checks' names."""
    return {check.name: check for check in outcome.checks}


def organizations(world: World) -> dict[int, str | None]:
    """The organization of every row."""
    return dict(world.sql(f"SELECT id, organization_id::text FROM {TABLE}"))
