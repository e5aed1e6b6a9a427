"""How a job that runs in the command line's own process reaches the command line.

A callback cannot go through a run's configuration, which is stored. So the process keeps a registry: `launch`
registers a listener under a random token and tags the run with that token; the ops of the run find the
listener by the tag, report progress to it and leave their results there. In any other process (the UI's runs,
a run that somebody executes again) the registry has no such token, and nothing listens.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tenant_migration.backfill.results import ProgressCallback
from tenant_migration.config import MigrationConfig
from tenant_migration.recovery.results import Backup, Cleanup
from tenant_migration.workflow.backup_first import BackupFirst
from tenant_migration.workflow.outcome import TableOutcome
from tenant_migration.workflow.rollback_outcome import RollbackOutcome

TAG = "tenant_migration/listener"

BackupCallback = Callable[[BackupFirst], None]
"""Hears which backup stands behind a migration, before the first write."""


@dataclass
class Listener:
    """What the command line gives to a run and gets from it."""

    config: MigrationConfig
    progress: ProgressCallback | None = None
    outcomes: list[TableOutcome] = field(default_factory=list)
    report: dict[str, Any] | None = None
    rollbacks: list[RollbackOutcome] = field(default_factory=list)
    backup: Backup | None = None
    cleanup: Cleanup | None = None
    on_backup: BackupCallback | None = None
    error: BaseException | None = None
    """Why the run could not go on, as the exception itself: the command line's message and exit code."""


_listeners: dict[str, Listener] = {}


@contextmanager
def registered(listener: Listener) -> Iterator[dict[str, str]]:
    """Register a listener; gives the tags of the run that shall find it."""
    token = uuid.uuid4().hex
    _listeners[token] = listener
    try:
        yield {TAG: token}
    finally:
        del _listeners[token]


def listener_of(tags: Mapping[str, str]) -> Listener | None:
    """Return who listens to the run with these tags, in this process."""
    return _listeners.get(tags.get(TAG, ""))
