"""The small world of the backfill's tests, and how to roll back in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tenant_migration.backfill.results import ProgressCallback, Selection
from tenant_migration.recovery.results import RollbackResult
from tenant_migration.recovery.rollback.engine import roll_back_table
from tenant_migration.recovery.runs import start_rollback
from tenant_migration_tests.backfill.conftest import (
    ACTOR,
    World,
    bare_world,
    claims,
    database_template,
    table_of,
    world,
)

__all__ = ["bare_world", "claims", "database_template", "roll_back", "world"]


def roll_back(
    world: World,
    name: str,
    *,
    tenants: Sequence[str] | None = None,
    progress: ProgressCallback | None = None,
    emergency: bool = False,
    **settings: Any,
) -> RollbackResult:
    """Plan, start a rollback, roll one table back."""
    plan = world.plan(**settings)
    run = start_rollback(
        world.connection, plan, selection=Selection(tenants=tenants), actor=ACTOR, emergency=emergency
    )
    return roll_back_table(
        world.connection, plan, table_of(plan, name), run, progress=progress, emergency=emergency
    )
