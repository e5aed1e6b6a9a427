"""For tests whose subject is Dagster and not the server: one version of PostgreSQL is enough."""

from __future__ import annotations

from tenant_migration_tests.versions import newest_server_only

__all__ = ["newest_server_only"]
