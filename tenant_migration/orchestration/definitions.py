"""The entry point that workspace.yaml and [tool.dg] name: the definitions for this home's plan."""

from __future__ import annotations

import logging

import dagster as dg

from tenant_migration.config import ScheduleConfig, load_config
from tenant_migration.errors import ConfigurationError
from tenant_migration.orchestration import plan_file
from tenant_migration.orchestration.build import build_definitions

_log = logging.getLogger(__name__)


@dg.definitions
def defs() -> dg.Definitions:
    """Build the definitions from the plan's file; without one, those that make a plan."""
    return build_definitions(plan_file.read(), _schedule())


def _schedule() -> ScheduleConfig:
    """Return when schedules start. A mistake in the configuration keeps no emergency stop out of the UI."""
    try:
        return load_config().schedule
    except ConfigurationError as error:
        _log.warning("the schedules have their defaults: %s", error)
        return ScheduleConfig()
