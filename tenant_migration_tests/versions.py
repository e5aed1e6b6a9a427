"""For tests whose subject is not the server but Dagster or files: one version of PostgreSQL is enough.

Where the subject is our own process that dies, freezes or waits, the mark `newest_server_by_default` leaves
the other versions to the tier `faults`.
"""

from __future__ import annotations

import pytest

from tenant_migration_tests.servers import tested_versions

VERSIONS = tested_versions()
NEWEST = max(VERSIONS)
every_server = pytest.mark.parametrize("server", VERSIONS, indirect=True, ids=lambda version: f"pg{version}")
"""For a test in a folder whose tests run on the newest one otherwise."""
newest_server_only = pytest.mark.parametrize("server", [NEWEST], indirect=True, ids=[f"pg{NEWEST}"])
