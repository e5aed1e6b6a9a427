"""Every hazard that is looked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tenant_migration.planning.hazards.context import DatabaseContext, TableContext
from tenant_migration.planning.model import Hazard, HazardLevel

TABLE_HAZARDS: tuple[Callable[[TableContext], Iterator[Hazard]], ...] = ()
DATABASE_HAZARDS: tuple[Callable[[DatabaseContext], Iterator[Hazard]], ...] = ()

_ORDER = {HazardLevel.REFUSE: 0, HazardLevel.WARN: 1, HazardLevel.INFO: 2}


def table_hazards(context: TableContext) -> tuple[Hazard, ...]:
    """Look for every hazard of one table; what refuses comes first."""
    return _sorted(hazard for find in TABLE_HAZARDS for hazard in find(context))


def database_hazards(context: DatabaseContext) -> tuple[Hazard, ...]:
    """Look for every hazard of the database as a whole; what refuses comes first."""
    return _sorted(hazard for find in DATABASE_HAZARDS for hazard in find(context))


def _sorted(hazards: Iterator[Hazard]) -> tuple[Hazard, ...]:
    return tuple(sorted(hazards, key=lambda hazard: _ORDER[hazard.level]))
