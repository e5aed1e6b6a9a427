"""Progress without a terminal: a line a table, and a sign of life every few seconds."""

from __future__ import annotations

from tenant_migration.backfill.results import Progress
from tenant_migration.cli.progress_display import Lines


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def event(
    table: str, done: int, expected: int, state: str = "running", reason: str | None = None
) -> Progress:
    return Progress(table, state, done, expected, batch_rows=1, batch_ms=1.0, reason=reason)


def lines_of(events: list[tuple[float, Progress]]) -> list[str]:
    written: list[str] = []
    clock = Clock()
    lines = Lines(written.append, lambda table: table.removeprefix("public."), clock)
    for at, progress in events:
        clock.now = at
        lines(progress)
    lines.close()
    return [line.strip() for line in written]


def test_a_quick_table_is_one_line() -> None:
    events = [(n * 0.1, event("public.claims", n * 10, 100)) for n in range(11)]
    events.append((1.2, event("public.claims", 100, 100, "verifying")))
    assert lines_of(events) == ["claims: 100.0% (100/100 rows) verifying"]


def test_each_table_is_left_with_a_line() -> None:
    events = [
        (0.0, event("public.claims", 100, 100)),
        (0.1, event("archive.claims", 5, 10)),
        (0.2, event("archive.claims", 10, 10)),
    ]
    assert lines_of(events) == [
        "claims: 100.0% (100/100 rows) running",
        "archive.claims: 100.0% (10/10 rows) running",
    ]


def test_a_long_table_gives_a_sign_of_life_every_five_seconds() -> None:
    events = [(n * 0.5, event("claims", n, 31)) for n in range(31)]
    written = lines_of(events)
    assert [line.split()[2] for line in written] == ["(10/31", "(20/31", "(30/31"]


def test_waiting_is_said_when_it_begins_and_when_it_ends() -> None:
    events = [
        (0.0, event("claims", 10, 100)),
        (0.1, event("claims", 10, 100, "throttled", "replica lag 12 s")),
        (0.2, event("claims", 10, 100, "throttled", "replica lag 12 s")),
        (0.3, event("claims", 20, 100)),
        (0.4, event("claims", 100, 100)),
    ]
    assert lines_of(events) == [
        "claims: 10.0% (10/100 rows) throttled: replica lag 12 s",
        "claims: 20.0% (20/100 rows) running",
        "claims: 100.0% (100/100 rows) running",
    ]


def test_a_table_that_is_not_at_its_end_is_never_at_a_hundred_percent() -> None:
    assert lines_of([(0.0, event("claims", 99_999, 100_000))]) == [
        "claims: 99.9% (99,999/100,000 rows) running"
    ]
