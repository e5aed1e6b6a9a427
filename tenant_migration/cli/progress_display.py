"""Shows a run's progress: bars on a terminal, else a line now and then."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import click
from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from tenant_migration.backfill.results import Progress, ProgressCallback
from tenant_migration.cli.output import console, is_terminal

LINE_INTERVAL_S = 5.0
"""Without a terminal a table says how far it is this often."""


@contextmanager
def progress_display() -> Iterator[ProgressCallback]:
    """Give the callback to which a run reports."""
    if is_terminal():
        with _bars() as bars:
            yield _Terminal(bars)
    else:
        yield Lines(click.echo)


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
    tasks: dict[str, TaskID] = field(default_factory=dict)

    def __call__(self, event: Progress) -> None:
        rows = f"{event.rows_done:,}/{event.rows_expected:,}"
        state = event.state if event.reason is None else f"{event.state}: {event.reason}"
        task = self.tasks.get(event.table)
        if task is None:
            task = self.tasks[event.table] = self.bars.add_task(
                event.table, total=100, rows=rows, state=state
            )
        self.bars.update(task, completed=event.percent, rows=rows, state=state)


@dataclass
class Lines:
    """One line when a table starts, when its state changes, every few seconds, and when it is done."""

    write: Callable[[str], object]
    clock: Callable[[], float] = time.monotonic
    _written: dict[str, tuple[float, str, bool]] = field(default_factory=dict)
    """Table -> when, state, whether it was at its end."""

    def __call__(self, event: Progress) -> None:
        """Hear of a batch."""
        now = self.clock()
        state = event.state if event.reason is None else f"{event.state}: {event.reason}"
        done = event.rows_done >= event.rows_expected
        last = self._written.get(event.table)
        if last is not None:
            at, last_state, was_done = last
            if now - at < LINE_INTERVAL_S and state == last_state and done == was_done:
                return
        self._written[event.table] = (now, state, done)
        percent = event.percent if done else min(event.percent, 99.9)
        self.write(
            f"   {event.table}: {percent:.1f}% ({event.rows_done:,}/{event.rows_expected:,} rows) {state}"
        )
