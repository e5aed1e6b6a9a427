"""Named points at which a test lets this process die, as a crash would: SIGKILL, no cleanup, no goodbye.

Enabled only by the environment: `TENANT_MIGRATION_FAILPOINT=name` kills at the first time the point is
reached, `name:3` at the third.
"""

from __future__ import annotations

import os
import signal
from collections import Counter

from tenant_migration.errors import ConfigurationError

VARIABLE = "TENANT_MIGRATION_FAILPOINT"

RUN_CREATED = "run_created"
LEASE_ACQUIRED = "lease_acquired"
COLUMN_REGISTERED = "column_registered"
COLUMN_ADDED = "column_added"
JOURNAL_REGISTERED = "journal_registered"
JOURNAL_CREATED = "journal_created"
CLAIMS_REGISTERED = "claims_registered"
CLAIMS_CREATED = "claims_created"
PAIRS_RUNNING = "pairs_running"
WALK_STARTED = "walk_started"
BATCH_BEFORE_COMMIT = "batch_before_commit"
BATCH_AFTER_COMMIT = "batch_after_commit"
ROW_QUARANTINED = "row_quarantined"
SWEEP_STARTED = "sweep_started"
JOURNAL_INDEXED = "journal_indexed"
INDEX_REGISTERED = "index_registered"
INDEX_VALID = "index_valid"
INDEX_BUILT = "index_built"
FOREIGN_KEY_REGISTERED = "foreign_key_registered"
FOREIGN_KEY_ADDED = "foreign_key_added"
FOREIGN_KEY_VALIDATED = "foreign_key_validated"
STATE_BEFORE_COMMIT = "state_before_commit"
PAIRS_VERIFYING = "pairs_verifying"
LEASE_RELEASED = "lease_released"

FOREIGN_KEY_DROPPED = "foreign_key_dropped"
INDEX_DROPPED = "index_dropped"
EMPTY_CHECK_REGISTERED = "empty_check_registered"
EMPTY_CHECK_ADDED = "empty_check_added"
EMPTY_CHECK_VALIDATED = "empty_check_validated"
COLUMN_DROPPED = "column_dropped"
DROPPING = (
    FOREIGN_KEY_DROPPED,
    INDEX_DROPPED,
    EMPTY_CHECK_REGISTERED,
    EMPTY_CHECK_ADDED,
    EMPTY_CHECK_VALIDATED,
    COLUMN_DROPPED,
)
"""Where a drop of what was made can be interrupted, in order."""

BACKUP_REGISTERED = "backup_registered"
BACKUP_RELATION_CREATED = "backup_relation_created"
BACKUP_TABLE_COPIED = "backup_table_copied"
BACKUP_BEFORE_COMMIT = "backup_before_commit"
BACKUP_COMPLETED = "backup_completed"
BACKUP_FILES_WRITTEN = "backup_files_written"
BACKUP_EXPORTED = "backup_exported"

ROLLBACK_CREATED = "rollback_created"
ROLLBACK_LEASE_ACQUIRED = "rollback_lease_acquired"
ROLLBACK_PAIRS_STARTED = "rollback_pairs_started"
ROLLBACK_CURSORS_DROPPED = "rollback_cursors_dropped"
ROLLBACK_KEPT_CLOSED = "rollback_kept_closed"
ROLLBACK_BATCH_DIVIDED = "rollback_batch_divided"
ROLLBACK_ROWS_RESET = "rollback_rows_reset"
ROLLBACK_BEFORE_COMMIT = "rollback_before_commit"
ROLLBACK_AFTER_COMMIT = "rollback_after_commit"
ROLLBACK_ROW_FAILED = "rollback_row_failed"
ROLLBACK_COUNTED = "rollback_counted"
ROLLBACK_PAIRS_ENDED = "rollback_pairs_ended"

OF_RECOVERY = (
    BACKUP_REGISTERED,
    BACKUP_RELATION_CREATED,
    BACKUP_TABLE_COPIED,
    BACKUP_BEFORE_COMMIT,
    BACKUP_COMPLETED,
    BACKUP_FILES_WRITTEN,
    BACKUP_EXPORTED,
    ROLLBACK_CREATED,
    ROLLBACK_LEASE_ACQUIRED,
    ROLLBACK_PAIRS_STARTED,
    ROLLBACK_CURSORS_DROPPED,
    ROLLBACK_KEPT_CLOSED,
    ROLLBACK_BATCH_DIVIDED,
    ROLLBACK_ROWS_RESET,
    ROLLBACK_BEFORE_COMMIT,
    ROLLBACK_AFTER_COMMIT,
    ROLLBACK_ROW_FAILED,
    ROLLBACK_COUNTED,
    ROLLBACK_PAIRS_ENDED,
    *DROPPING,
)
"""Reached by what takes back, never by a migration."""

NAMES = tuple(
    value
    for name, value in sorted(globals().items())
    if name.isupper() and isinstance(value, str) and name != "VARIABLE"
)

_times_reached: Counter[str] = Counter()


def reach(name: str) -> None:
    """Say that the point is reached; kills this process when the environment asks for it here."""
    wanted = os.environ.get(VARIABLE)
    if not wanted:
        return
    wanted_name, _, nth = wanted.partition(":")
    if wanted_name not in NAMES or not (nth or "1").isdigit():
        raise ConfigurationError(f"{VARIABLE}={wanted!r}: no such point; known are {', '.join(NAMES)}")
    if name != wanted_name:
        return
    _times_reached[name] += 1
    if _times_reached[name] == int(nth or "1"):
        os.kill(os.getpid(), signal.SIGKILL)
