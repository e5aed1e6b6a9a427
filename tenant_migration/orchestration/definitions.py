"""The entry point that workspace.yaml and [tool.dg] name: the definitions for this home's plan."""

from __future__ import annotations

import dagster as dg

from tenant_migration.orchestration import plan_file
from tenant_migration.orchestration.build import build_definitions


@dg.definitions
def defs() -> dg.Definitions:
    """Build the definitions from the plan's file; without one, those that make a plan."""
    return build_definitions(plan_file.read())
