"""A server that nothing can be written to refuses the whole database."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import psycopg

from tenant_migration.catalog.reader import read_catalog
from tenant_migration.config import MigrationConfig
from tenant_migration.planning.created import CreatedObjects
from tenant_migration.planning.discovery import discover
from tenant_migration.planning.hazards.context import DatabaseContext
from tenant_migration.planning.hazards.registry import database_hazards
from tenant_migration.planning.model import HazardLevel
from tenant_migration.planning.organizations import resolve_organizations


def test_a_standby_is_refused(read_schema: Callable[[str], psycopg.Connection]) -> None:
    config = MigrationConfig()
    primary = read_catalog(read_schema("no_foreign_key"), config)
    standby = replace(primary, server=replace(primary.server, in_recovery=True, host="replica.example"))

    def refusals(catalog: object) -> dict[str, str]:
        assert isinstance(catalog, type(primary))
        context = DatabaseContext(
            catalog=catalog,
            config=config,
            discovery=discover(catalog, config),
            organizations=resolve_organizations(catalog, config),
            created=CreatedObjects(),
            mapping="not installed",
        )
        return {h.name: h.detail for h in database_hazards(context) if h.level is HazardLevel.REFUSE}

    assert refusals(primary) == {}
    assert refusals(standby) == {
        "standby": "replica.example is a standby (in recovery): nothing can be written"
    }
