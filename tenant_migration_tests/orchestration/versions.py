"""For tests whose subject is Dagster and not the server: one version of PostgreSQL is enough."""

from __future__ import annotations

import pytest

from tenant_migration_tests.servers import tested_versions

newest_server_only = pytest.mark.parametrize("server", [max(tested_versions())], indirect=True)
