"""What every op does first and last: connect, read the configuration, turn our errors into Dagster's.

Nothing is yielded to Dagster while a session is open: no transaction of ours waits for Dagster's storage.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import dagster as dg
import psycopg

from tenant_migration.backfill.results import ProgressCallback
from tenant_migration.config import MigrationConfig, actor
from tenant_migration.database.attempts import attempt
from tenant_migration.database.connection import check_server
from tenant_migration.database.install import require_installed
from tenant_migration.errors import TenantMigrationError, UnknownTable
from tenant_migration.orchestration import partitions
from tenant_migration.orchestration.event_batches import EventSource
from tenant_migration.orchestration.listeners import Listener, listener_of
from tenant_migration.orchestration.resources import Database
from tenant_migration.planning.model import Plan, TablePlan
from tenant_migration.planning.storage import load_plan
from tenant_migration.workflow.audit_anchors import keep_anchor
from tenant_migration.workflow.prepare import stored_or_new_plan

AUDIT_ENTRIES_TAG = "tenant_migration/audit_entries"
AUDIT_HEAD_TAG = "tenant_migration/audit_head"
"""Tags of a run: how long the audit log was at its end, and its newest hash."""


@dataclass(frozen=True)
class Session:
    """One op's view of the database."""

    context: dg.OpExecutionContext
    connection: psycopg.Connection
    config: MigrationConfig
    actor: str
    listener: Listener | None

    @property
    def progress(self) -> ProgressCallback | None:
        """Who wants to hear of each batch."""
        return self.listener.progress if self.listener else None

    def attempt(
        self, operation: str, *, tables: Sequence[str] | None = None, tenants: Sequence[str] | None = None
    ) -> AbstractContextManager[None]:
        """Let the audit log have it when the body raises: no list, or an empty one, is all."""
        return attempt(
            self.connection, operation, actor=self.actor, tables=tables or None, tenants=tenants or None
        )

    def plan_to_write(
        self, *, tables: Sequence[str] | None = None, tenants: Sequence[str] | None = None
    ) -> Plan:
        """Return the stored plan; store one when there is none yet and what is asked for is known."""
        return stored_or_new_plan(
            self.connection, self.config, actor=self.actor, tables=tables, tenants=tenants
        )

    def plan_to_read(self) -> Plan:
        """Return the stored plan. Writes nothing."""
        require_installed(self.connection, self.config)
        return load_plan(self.connection)

    def sync_partitions(self) -> None:
        """Make the partitions equal to the mappings."""
        require_installed(self.connection, self.config)
        changes = partitions.sync(self.context.instance, self.connection, self.config)
        if changes.added or changes.removed or changes.left_out:
            self.context.log.info(changes.as_text())


@contextmanager
def session(context: dg.OpExecutionContext, database: Database, *, writes: bool = True) -> Iterator[Session]:
    """Open a session for an op.

    Raises:
        dagster.Failure: without retries, with its message, for each of our errors and PostgreSQL's.
    """
    listener = listener_of(context.run.tags)
    try:
        connection = database.connect(context.run_id)
        try:
            check_server(connection, writes=writes)
            config = listener.config if listener else database.load_config()
            yield Session(context, connection, config, actor(), listener)
        finally:
            if writes:
                _anchor(context, connection)
            connection.close()
    except (TenantMigrationError, psycopg.Error) as error:
        if listener is not None:
            listener.error = error
        raise dg.Failure(description=str(error).strip(), allow_retries=False) from error


def _anchor(context: dg.OpExecutionContext, connection: psycopg.Connection) -> None:
    """Keep the audit log's newest link in the file and on the run, whether it succeeds or fails."""
    if connection.closed or connection.broken:
        return
    anchor = keep_anchor(connection)
    if anchor is not None:
        context.instance.add_run_tags(
            context.run_id, {AUDIT_ENTRIES_TAG: str(anchor.entries), AUDIT_HEAD_TAG: anchor.head}
        )


def planned_table(plan: Plan, qualified_name: str) -> TablePlan:
    """Return a table of the plan that the definitions were built with, as the stored plan has it now.

    Raises:
        UnknownTable: the stored plan is newer and has it no more.
    """
    for table in plan.tables:
        if table.qualified_name == qualified_name:
            return table
    raise UnknownTable(f"table {qualified_name} is not in the stored plan any more: reload the code location")


def event_source(context: dg.OpExecutionContext) -> EventSource:
    """Return this op's step as the source of events."""
    return EventSource(context.run_id, context.job_name, context.get_step_execution_context().step.key)
