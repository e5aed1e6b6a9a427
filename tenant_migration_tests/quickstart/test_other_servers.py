"""The workflow on the machine's own PostgreSQL, where it has one that is not embedded: the oldest one."""

from __future__ import annotations

import pytest

from tenant_migration import migrate_all_tables, run_post_migration_validation
from tenant_migration.config import MigrationConfig, ValidationConfig
from tenant_migration.database.install import install
from tenant_migration.mapping.csv_import import import_mappings
from tenant_migration.quickstart.sample import (
    UNMAPPED_TENANT,
    count_independently,
    create_sample,
    write_mappings,
)
from tenant_migration_tests.servers import system_programs

OTHERS = sorted(system_programs())


@pytest.mark.parametrize(
    "server",
    OTHERS or [pytest.param(0, marks=pytest.mark.skip(reason="no PostgreSQL is installed on this machine"))],
    indirect=True,
    ids=lambda version: f"pg{version}",
)
def test_sample_is_migrated_and_verified(database, connection, tmp_path):
    summary = create_sample(database, rows=3_000, tenants=8)
    config = MigrationConfig(validation=ValidationConfig(allowed_unmapped_tenants=[UNMAPPED_TENANT]))
    install(connection, config)
    write_mappings(tmp_path / "mappings.csv", summary)
    import_mappings(connection, config, tmp_path / "mappings.csv", "tester")
    outcomes = migrate_all_tables(database_url=database, config=config)
    assert {outcome.state for outcome in outcomes} == {"completed"}
    assert run_post_migration_validation(database_url=database, config=config)["status"] == "pass"
    assert count_independently(database).differences(summary) == []
