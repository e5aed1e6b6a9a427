"""Moves a live multi-tenant PostgreSQL database from `tenant_id` to `organization_id`.

The names below are the Python API. They are loaded when first used, so that a command's `--help` does not
load the engine.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tenant_migration.version import VERSION

if TYPE_CHECKING:
    from tenant_migration.mapping.mapper import TenantOrgMapper
    from tenant_migration.workflow.api import (
        batch_get_organization_ids,
        cleanup_backups,
        create_all_backups,
        emergency_rollback,
        get_migration_progress,
        get_organization_id_from_tenant,
        get_tenant_id_from_organization,
        get_tenant_ids_from_organization,
        list_backups,
        migrate_all_tables,
        migrate_table,
        migrate_tenant,
        rollback_all_tables,
        rollback_table,
        rollback_tenant,
        run_post_migration_validation,
        run_pre_migration_validation,
    )

__version__ = VERSION

__all__ = [
    "TenantOrgMapper",
    "batch_get_organization_ids",
    "cleanup_backups",
    "create_all_backups",
    "emergency_rollback",
    "get_migration_progress",
    "get_organization_id_from_tenant",
    "get_tenant_id_from_organization",
    "get_tenant_ids_from_organization",
    "list_backups",
    "migrate_all_tables",
    "migrate_table",
    "migrate_tenant",
    "rollback_all_tables",
    "rollback_table",
    "rollback_tenant",
    "run_post_migration_validation",
    "run_pre_migration_validation",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = "tenant_migration.mapping.mapper" if name == "TenantOrgMapper" else "tenant_migration.workflow.api"
    return getattr(import_module(home), name)
