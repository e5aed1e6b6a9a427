"""Shows a run's progress: bars on a terminal, else a line now and then."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import click
from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from tenant_migration.backfill.results import Progress
from tenant_migration.cli.output import console, is_terminal

LINE_INTERVAL_S = 5.0
"""Without a terminal a table says how far it is this often."""


class Display(Protocol):
    """What a run reports to while it works."""

    def __call__(self, event: Progress) -> None:
        """Hear of a batch."""

    def note(self, line: str) -> None:
        """Show a line of another kind, below what was shown so far."""


@contextmanager
def progress_display(label: Callable[[str], str]) -> Iterator[Display]:
    """Give the display of a run.

    Args:
        label: a table's name as people read it.
    """
    if is_terminal():
        with _bars() as bars:
            yield _Terminal(bars, label)
    else:
        lines = Lines(click.echo, label)
        try:
            yield lines
        finally:
            lines.close()


def _bars() -> Bars:
    return Bars(
        TextColumn("   {task.description:30}"),
        BarColumn(bar_width=30),
        TextColumn("{task.percentage:5.1f}%"),
        TextColumn("{task.fields[rows]}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[state]}"),
        console=console(),
        refresh_per_second=5,
    )


@dataclass
class _Terminal:
    bars: Bars
    label: Callable[[str], str]
    tasks: dict[str, TaskID] = field(default_factory=dict)

    def __call__(self, event: Progress) -> None:
        rows = f"{event.rows_done:,}/{event.rows_expected:,}"
        task = self.tasks.get(event.table)
        if task is None:
            name = self.label(event.table)
            task = self.tasks[event.table] = self.bars.add_task(name, total=100, rows=rows, state="")
        self.bars.update(task, completed=event.percent, rows=rows, state=_state(event))

    def note(self, line: str) -> None:
        """Print it above the bars."""
        self.bars.console.print(line, markup=False, highlight=False, soft_wrap=True)


@dataclass
class Lines:
    """One line a table when it is left; before that every few seconds, and when it begins or ends to wait."""

    write: Callable[[str], object]
    label: Callable[[str], str]
    clock: Callable[[], float] = time.monotonic
    _last: Progress | None = None
    _written: Progress | None = None
    _written_at: float = 0.0

    def __call__(self, event: Progress) -> None:
        """Hear of a batch."""
        if self._last is not None and self._last.table != event.table:
            self.close()
        if self._last is None:
            self._written_at = self.clock()
        reason_before = self._last.reason if self._last else None
        self._last = event
        if event.reason != reason_before or self.clock() - self._written_at >= LINE_INTERVAL_S:
            self._write(event)

    def note(self, line: str) -> None:
        """Write it, after where the table ended."""
        self.close()
        self.write(line)

    def close(self) -> None:
        """Write where the table ended, when that is not written yet."""
        if self._last is not None and self._last != self._written:
            self._write(self._last)
        self._last = None

    def _write(self, event: Progress) -> None:
        self._written = event
        self._written_at = self.clock()
        percent = event.percent if event.rows_done >= event.rows_expected else min(event.percent, 99.9)
        rows = f"{event.rows_done:,}/{event.rows_expected:,} rows"
        self.write(f"   {self.label(event.table)}: {percent:.1f}% ({rows}) {_state(event)}")


def _state(event: Progress) -> str:
    state = event.state.replace("_", " ")
    return state if event.reason is None else f"{state}: {event.reason}"
