"""What the steps of one table's rollback share: who works on what, with which lease, and what is done."""

from __future__ import annotations

from dataclasses import dataclass, field

from tenant_migration.backfill.clock import Clock
from tenant_migration.backfill.lease import KeepAlive, Lease
from tenant_migration.backfill.results import Progress, ProgressCallback
from tenant_migration.backfill.retry import Retry
from tenant_migration.backfill.runs import Run
from tenant_migration.backfill.session import Session
from tenant_migration.backfill.states import State
from tenant_migration.backfill.stop import refuse_when_stopped
from tenant_migration.planning.model import Plan, TablePlan
from tenant_migration.recovery.results import PreviousValues


@dataclass
class Tally:
    """What this rollback did so far. Row counts are the database's own (`table_runs`), not added up here."""

    rows_expected: int = 0
    rows_closed: int = 0
    """Entries that are restored, changed or deleted."""
    batches: int = 0
    notes: list[str] = field(default_factory=list)


@dataclass
class Work:
    """One table's part of a rollback."""

    session: Session
    clock: Clock
    plan: Plan
    table: TablePlan
    table_id: int
    run: Run
    lease: Lease
    keep_alive: KeepAlive
    tenant_numbers: list[int] | None
    """None: every tenant in the journal."""
    progress: ProgressCallback | None
    session_settings: dict[str, str]
    """The session's own planner settings and search path, which each step puts back."""
    emergency: bool
    """Goes on while the emergency switch is set."""
    has_claims: bool
    """Whether the application's own writes of the organization are recorded."""
    previous: PreviousValues | None
    """Where the values to bring back are; None: in the journal."""
    tally: Tally = field(default_factory=Tally)

    @property
    def retry(self) -> Retry:
        """How a step of this table is tried again."""
        return Retry(self.session, self.clock, self.table.settings.retry_attempts)

    @property
    def name(self) -> str:
        """The table, for messages."""
        return self.table.qualified_name

    def refuse_when_stopped(self) -> None:
        """Raise RunStopped when somebody asked this run to stop."""
        self.retry.run(
            f"stop flags of {self.name}",
            lambda connection: refuse_when_stopped(
                connection,
                table_name=self.name,
                table_id=self.table_id,
                run_id=self.run.run_id,
                heeds_switch=not self.emergency,
            ),
        )

    def report(self, *, batch_rows: int = 0, batch_ms: float = 0.0, reason: str | None = None) -> None:
        """Tell the caller where the table stands."""
        if self.progress is None:
            return
        self.progress(
            Progress(
                table=self.name,
                state=State.ROLLING_BACK.value,
                rows_done=self.tally.rows_closed,
                rows_expected=max(self.tally.rows_expected, self.tally.rows_closed),
                batch_rows=batch_rows,
                batch_ms=batch_ms,
                reason=reason,
            )
        )
