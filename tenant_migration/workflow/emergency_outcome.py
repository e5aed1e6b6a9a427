"""What an emergency stop did, and what is where afterwards: the values that command line and Dagster show."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tenant_migration.backfill.stop import EmergencySwitch
from tenant_migration.recovery.stop_runs import Stopped
from tenant_migration.recovery.whereabouts import TableWhereabouts
from tenant_migration.workflow.rollback_outcome import RollbackOutcome


@dataclass
class Step:
    """One step of an emergency stop."""

    name: str
    outcome: Literal["done", "failed", "skipped"] = "done"
    lines: list[str] = field(default_factory=list)
    """What was done, or why not, as sentences."""
    seconds: float = 0.0


@dataclass
class EmergencyOutcome:
    """What was done step by step, and what is where now."""

    steps: list[Step] = field(default_factory=list)
    switch: EmergencySwitch | None = None
    """None: it could not be set."""
    stopped: Stopped | None = None
    rollback: list[RollbackOutcome] = field(default_factory=list)
    """One a table, children first; empty where there was nothing to take back."""
    tables: tuple[TableWhereabouts, ...] = ()
    """What is where, at the end."""
    left: list[str] = field(default_factory=list)
    """What is not stopped or not taken back, as sentences; empty only if nothing is left."""

    @property
    def rows_restored(self) -> int:
        """Rows that have their earlier value again."""
        return sum(outcome.rows_restored for outcome in self.rollback)

    @property
    def failed_steps(self) -> tuple[Step, ...]:
        """Steps that could not be done, whether or not anything is left by that."""
        return tuple(step for step in self.steps if step.outcome == "failed")
