"""What names the tenant key beside tables: listed, not touched."""

from __future__ import annotations

from collections.abc import Iterator

from tenant_migration.planning.counted import counted
from tenant_migration.planning.hazards.context import DatabaseContext, info
from tenant_migration.planning.model import Hazard

_SHOWN = 20
_PLURAL = {
    "view": "views",
    "materialized view": "materialized views",
    "function": "functions",
    "policy": "policies",
}


def dependents(context: DatabaseContext) -> Iterator[Hazard]:
    """List views, materialized views, functions and policies that name the key, one hazard a kind."""
    for kind, plural in _PLURAL.items():
        names = [dependent.name for dependent in context.catalog.dependents if dependent.kind == kind]
        if names:
            shown = ", ".join(names[:_SHOWN])
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            yield info(
                f"{plural.replace(' ', '_')}_name_the_key",
                f"the tenant key is named by {counted(len(names), kind, plural)}: {shown}{more}",
                "nothing for the migration; they go on reading the old key until somebody rewrites them",
            )
