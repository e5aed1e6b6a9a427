"""What the steps of one table's run share: who works on what, with which lease, and what was done so far."""

from __future__ import annotations

from dataclasses import dataclass, field

from tenant_migration.backfill.clock import Clock
from tenant_migration.backfill.lease import KeepAlive, Lease
from tenant_migration.backfill.leaves import Leaf
from tenant_migration.backfill.results import Progress, ProgressCallback
from tenant_migration.backfill.retry import Retry
from tenant_migration.backfill.runs import Run
from tenant_migration.backfill.session import Session
from tenant_migration.backfill.states import State
from tenant_migration.backfill.stop import refuse_when_stopped
from tenant_migration.backfill.structure.ddl import Ddl
from tenant_migration.backfill.target import Target
from tenant_migration.catalog.row_hash import HashPart
from tenant_migration.planning.model import Plan, TablePlan


@dataclass
class Tally:
    """What this run did to the table. `rows_migrated` and `rows_hot` are the database's own counters."""

    rows_migrated: int = 0
    rows_hot: int = 0
    rows_in_scope: int = 0
    """Rows of tenants in scope, whatever their organization."""
    rows_expected: int = 0
    rows_quarantined: int = 0
    batches: int = 0
    sweeps: int = 0
    resumed: bool = False
    created: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)


@dataclass
class Work:
    """One table's part of a run."""

    session: Session
    clock: Clock
    plan: Plan
    table: TablePlan
    table_id: int
    run: Run
    lease: Lease
    keep_alive: KeepAlive
    tenant_numbers: list[int] | None
    """None: every tenant of the run."""
    progress: ProgressCallback | None
    session_settings: dict[str, str]
    """The session's own planner settings and search path, which each batch puts back."""
    hashed_columns: tuple[HashPart, ...] = ()
    tally: Tally = field(default_factory=Tally)

    @property
    def retry(self) -> Retry:
        """How a step of this table is tried again."""
        return Retry(self.session, self.clock, self.table.settings.retry_attempts)

    @property
    def ddl(self) -> Ddl:
        """How this table's DDL is tried."""
        return Ddl(self.retry, self.table.settings.lock_timeout_ms)

    def refuse_when_stopped(self) -> None:
        """Raise RunStopped when somebody asked this run to stop."""
        self.retry.run(
            f"stop flags of {self.table.qualified_name}",
            lambda connection: refuse_when_stopped(
                connection,
                table_name=self.table.qualified_name,
                table_id=self.table_id,
                run_id=self.run.run_id,
            ),
        )

    @property
    def scope_numbers(self) -> list[int]:
        """The tenants in scope, by number."""
        return sorted(self.run.tenants.values()) if self.tenant_numbers is None else self.tenant_numbers

    def target(self, leaf: Leaf) -> Target:
        """Return the leaf as SQL sees it."""
        return Target(
            table=self.table,
            table_id=self.table_id,
            leaf_oid=leaf.oid,
            leaf_name=leaf.name,
            overwrites=self.table.settings.on_existing_value == "overwrite",
            returns_old=self.session.connection.info.server_version >= 180000,  # noqa: PLR2004 - PostgreSQL 18
            hashed_columns=self.hashed_columns,
        )

    def map_parameters(self) -> dict[str, object]:
        """Return the parameters of `frozen_map`."""
        return {"run_id": self.run.run_id, "tenant_numbers": self.tenant_numbers}

    def report(
        self, state: State, *, batch_rows: int = 0, batch_ms: float = 0.0, reason: str | None = None
    ) -> None:
        """Tell the caller where the table stands."""
        if self.progress is None:
            return
        self.progress(
            Progress(
                table=self.table.qualified_name,
                state=state.value,
                rows_done=self.tally.rows_migrated,
                rows_expected=max(self.tally.rows_expected, self.tally.rows_migrated),
                batch_rows=batch_rows,
                batch_ms=batch_ms,
                reason=reason,
            )
        )
