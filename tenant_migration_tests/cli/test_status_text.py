"""The layout of `status`: the users' own, held by a golden file."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest

from tenant_migration.cli.output import ASCII, UNICODE, glyphs
from tenant_migration.cli.status_text import progress_bar, progress_line, status_lines
from tenant_migration.mapping.model import StatusCounts
from tenant_migration.workflow.status import PairFailure, RunningTable, Status, TableProgress

GOLDEN = Path(__file__).parent / "golden"


def table(name: str, migrated: int, total: int) -> TableProgress:
    return TableProgress(
        table=f"public.{name}",
        table_name=name,
        total_rows=total,
        migrated_rows=migrated,
        rows_null_tenant=3,
        rows_allowed_unmapped=2,
        rows_unmapped=0,
        unmapped_tenants=0,
        unmapped_examples=(),
        pairs={},
        journal_bytes=0,
    )


STATUS = Status(
    counts=StatusCounts(1150, 25, 5, 1115, 3, 2, 48532),
    has_plan=True,
    emergency_stop=False,
    running=(),
    failures=(),
    waiting=(),
    journals_bytes=0,
    backups_bytes=0,
    tables=(
        table("profiles", 9_320, 10_000),
        table("claims", 17_900, 20_000),
        table("documents", 500, 10_000),
        table("archive.claims", 999_999, 1_000_000),
        table("precedents", 0, 0),
        table("strike_votes", 0, 7),
        table("a_table_whose_name_is_longer_than_thirty", 1, 2),
    ),
)
RUNNING = RunningTable(
    table_name="claims",
    run_id=7,
    actor="alice",
    state="throttled",
    reason="replica lag 12 s",
    rows_migrated=17_900,
    rows_expected=20_000,
    rows_per_second=3_580.0,
    eta_seconds=0.587,
    started_at=datetime(2026, 1, 1, tzinfo=timezone.utc),
    last_batch_at=datetime(2026, 1, 1, 0, 0, 5, tzinfo=timezone.utc),
    alive=True,
)


def text(status: Status, *, detailed: bool = True) -> str:
    return "\n".join(status_lines(status, UNICODE, detailed=detailed)) + "\n"


def test_the_detailed_page_is_the_golden_file() -> None:
    assert text(STATUS) == (GOLDEN / "status_detailed.txt").read_text(encoding="utf-8")


def test_without_detailed_the_page_ends_with_the_statistics() -> None:
    golden = (GOLDEN / "status_detailed.txt").read_text(encoding="utf-8")
    assert text(STATUS, detailed=False) == golden.partition("\n\nTable Progress:")[0] + "\n"


@pytest.mark.parametrize(
    ("percent", "cells"),
    [
        (0, 0),
        (1.6, 0),
        (1.7, 1),
        (5, 2),
        (50, 15),
        (93.2, 28),
        (89.5, 27),
        (98.33, 29),
        (98.34, 30),
        (100, 30),
    ],
)
def test_a_bar_has_thirty_cells_and_rounds_half_up(percent: float, cells: int) -> None:
    assert progress_bar(percent, UNICODE) == "█" * cells + "░" * (30 - cells)


def test_a_hundred_percent_is_said_only_when_nothing_is_left() -> None:
    assert "99.9% (9,999/10,000)" in progress_line("claims", 9_999, 10_000, 99.99, UNICODE)
    assert "100.0% (10,000/10,000)" in progress_line("claims", 10_000, 10_000, 100.0, UNICODE)


def test_running_tables_show_rate_time_left_and_reason() -> None:
    assert (
        "\nRunning:\n   claims: throttled, 17,900/20,000 rows, 3,580 rows/s, about 587 ms left,"
        " replica lag 12 s (run 7 by alice)\n"
    ) in text(replace(STATUS, running=(RUNNING,)), detailed=False)


def test_a_run_whose_process_is_gone_is_told_from_one_that_works() -> None:
    shown = text(replace(STATUS, running=(replace(RUNNING, alive=False),)), detailed=False)
    assert "no sign of life" in shown
    assert "left" not in shown


def test_failures_are_shown_with_their_reason() -> None:
    failures = (PairFailure("claims", "o'brien", "failed", "3 rows quarantined"),)
    assert ('\nFailed or blocked:\n   claims, tenant "o\'brien": failed: 3 rows quarantined\n') in text(
        replace(STATUS, failures=failures), detailed=False
    )


def test_without_mappings_the_next_step_is_named() -> None:
    empty = replace(STATUS, counts=StatusCounts(0, 0, 0, 0, 0, 0, 0), tables=(), has_plan=False)
    shown = text(empty)
    assert "   Total mappings: 0\n" in shown
    assert "tenant-migration mappings --import FILE.csv" in shown
    assert "tenant-migration plan --write" in shown


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [("utf-8", UNICODE), ("ascii", ASCII), ("nosuch", ASCII)],
)
def test_characters_fall_back_to_ascii_when_the_output_cannot_carry_them(
    encoding: str, expected: object
) -> None:
    class Stream(io.StringIO):
        pass

    Stream.encoding = encoding  # type: ignore[assignment]
    assert glyphs(Stream()) == expected


def test_an_output_that_has_the_blocks_but_not_the_symbols_keeps_the_blocks() -> None:
    class Stream(io.StringIO):
        encoding = "cp437"  # type: ignore[assignment]

    assert (glyphs(Stream()).full, glyphs(Stream()).status) == ("█", "")
    lines = list(status_lines(STATUS, ASCII, detailed=True))
    assert "\n".join(lines).isascii()
    assert lines[0] == "Migration Status"
    assert "   documents                      ##............................ 5.0% (500/10,000)" in lines
