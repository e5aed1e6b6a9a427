"""The hash chain of the audit log: its newest link, whether it is sound, and still holds earlier links.

Belongs here: questions to the database. Where links are kept outside of it: `workflow.audit_anchors`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg

from tenant_migration.database.connection import transaction

EMPTY_HEAD = "0" * 64
"""Head of a log without rows."""


@dataclass(frozen=True)
class Anchor:
    """The log as it was at a moment: kept outside of the database, it gives away a cut tail."""

    entries: int
    """Number of rows, and `seq` of the newest one."""
    head: str
    """Hash of the newest row."""


@dataclass(frozen=True)
class Chain:
    """What checking every seal gave."""

    anchor: Anchor
    first_bad_seq: int | None
    """The first row whose seal is broken; None: every seal holds."""


def has_log(connection: psycopg.Connection) -> bool:
    """Say whether there is a log; who may not read it is told so too."""
    [(is_there,)] = connection.execute(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n"
        " ON n.oid = c.relnamespace"
        " WHERE n.nspname = 'tenant_migration' AND c.relname = 'migration_audit_log')"
    )
    return bool(is_there)


def read_anchor(connection: psycopg.Connection) -> Anchor | None:
    """Return the log's newest link; None: there is no log, since nothing is installed."""
    if not has_log(connection):
        return None
    with transaction(connection, read_only=True, row_security=True):
        row = connection.execute(
            "SELECT seq, hash FROM tenant_migration.migration_audit_log ORDER BY seq DESC LIMIT 1"
        ).fetchone()
    return Anchor(0, EMPTY_HEAD) if row is None else Anchor(*row)


def check_chain(connection: psycopg.Connection) -> Chain:
    """Check the seal of every row."""
    with transaction(connection, read_only=True, row_security=True, statement_timeout_ms=0):
        [(first_bad_seq, entries, head)] = connection.execute(
            "SELECT first_bad_seq, entries, head FROM tenant_migration.verify_audit_chain()"
        )
    return Chain(Anchor(entries, head), first_bad_seq)


def missing(connection: psycopg.Connection, anchors: Sequence[Anchor]) -> list[tuple[Anchor, str | None]]:
    """Return the anchors that the log does not hold any more, oldest first, with the hash that is there now.

    None instead of a hash: the row is gone.
    """
    kept = [anchor for anchor in anchors if anchor.entries]  # an empty log is the beginning of every log
    with transaction(connection, read_only=True, row_security=True, statement_timeout_ms=0):
        rows = connection.execute(
            "SELECT kept.entries, kept.head, l.hash"
            " FROM unnest(%s::bigint[], %s::text[]) AS kept (entries, head)"
            " LEFT JOIN tenant_migration.migration_audit_log AS l ON l.seq = kept.entries"
            " WHERE l.hash IS DISTINCT FROM kept.head ORDER BY kept.entries",
            ([anchor.entries for anchor in kept], [anchor.head for anchor in kept]),
        ).fetchall()
    return [(Anchor(entries, head), now) for entries, head, now in rows]
