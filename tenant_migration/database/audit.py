"""Writes down every operation: who, what, counts, duration, outcome, also when it failed.

Belongs here: the one way into `migration_audit_log`. Call it after the operation's own transaction, or inside
of a short one: the chain's lock is held until the transaction ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from tenant_migration.version import VERSION

_APPEND = """
    SELECT tenant_migration.append_audit(
        operation => %s, actor => %s, outcome => %s, run_id => %s, table_name => %s, tenant_id => %s,
        counts => %s, duration_ms => %s, detail => %s, tool_version => %s)
"""


def record(
    connection: psycopg.Connection,
    *,
    operation: str,
    actor: str,
    outcome: str,
    run_id: int | None = None,
    table: str | None = None,
    tenant_id: str | None = None,
    counts: Mapping[str, int] | None = None,
    duration_ms: float | None = None,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Append one row to the audit log.

    Args:
        connection: any; the database adds the time and the role it is connected as.
        operation: `migrate`, `install`, `mappings --import`, ...
        actor: the person or job (`config.actor()`).
        outcome: `succeeded`, `failed`, `refused`, `started`, ...
        run_id: the run it belongs to.
        table: `schema.table`.
        tenant_id: the one tenant concerned; None: several, or the database.
        counts: what was done, by name.
        duration_ms: of the operation, milliseconds.
        detail: whatever explains it; never row contents, never credentials.
    """
    connection.execute(
        _APPEND,
        [
            operation, actor, outcome, run_id, table, tenant_id, Jsonb(dict(counts or {})),
            None if duration_ms is None else round(duration_ms), Jsonb(dict(detail or {})), VERSION,
        ],
    )  # fmt: skip
