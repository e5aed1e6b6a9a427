"""For tests whose subject is not the server but Dagster or files: one version of PostgreSQL is enough.

Where the subject is our own process that dies, freezes or waits, the mark `newest_server_by_default` leaves
the other versions to the tier `faults`.
"""

from __future__ import annotations

import pytest

from tenant_migration_tests.servers import tested_versions

NEWEST = max(tested_versions())
newest_server_only = pytest.mark.parametrize("server", [NEWEST], indirect=True, ids=[f"pg{NEWEST}"])
