"""Fixtures for tests of the plan: one of the small schemas, planned on a read-only connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from tenant_migration.config import MigrationConfig
from tenant_migration.database.connection import connect
from tenant_migration.planning.builder import build_plan
from tenant_migration.planning.model import Plan, TablePlan
from tenant_migration_tests import schemas
from tenant_migration_tests.servers import Server

CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "two_key_names": {"tenant_key_columns": ["tenant_id", "tenantId"]},
    "organizations_elsewhere": {
        "organizations": {
            "table": "directory.Orgs",
            "id": "orgId",
            "parent_id": "partOf",
            "slug": "handle",
            "name": "title",
        }
    },
}
"""What a schema needs said; the others are planned with defaults."""


def configuration(schema: str, **more: Any) -> MigrationConfig:
    """Return the configuration of a schema, with more keys over it."""
    return MigrationConfig.model_validate({**CONFIGURATIONS.get(schema, {}), **more})


def table_of(plan: Plan, name: str) -> TablePlan:
    """Return a table's plan; bare names are in `public`."""
    found = plan.table(name if "." in name else f"public.{name}")
    assert found is not None, f"{name} is not planned; planned are {[t.qualified_name for t in plan.tables]}"
    return found


@pytest.fixture
def load_schema(server: Server, connection: psycopg.Connection) -> Callable[[str], psycopg.Connection]:
    """Load a schema into the test's database; returns the owner's connection."""

    def load(name: str) -> psycopg.Connection:
        if schemas.needs_superuser(name):
            with psycopg.connect(server.superuser_url(connection.info.dbname), autocommit=True) as superuser:
                schemas.load(connection, name, superuser=superuser)
        else:
            schemas.load(connection, name)
        return connection

    return load


@pytest.fixture
def plan_schema(load_schema: Callable[[str], psycopg.Connection], database: str) -> Callable[..., Plan]:
    """Load a schema and plan it on a connection that refuses every write."""

    def plan(name: str, **more: Any) -> Plan:
        load_schema(name)
        with connect(database, read_only=True) as reader:
            return build_plan(reader, configuration(name, **more))

    return plan
