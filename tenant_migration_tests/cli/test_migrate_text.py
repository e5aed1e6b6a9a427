"""What `migrate` says: costs, what could not be undone, and what is not finished."""

from __future__ import annotations

import pytest

from tenant_migration.backfill.results import TableResult
from tenant_migration.cli import migrate_text
from tenant_migration.cli.output import duration, shown
from tenant_migration.planning.model import Estimate, Hazard, HazardLevel, Plan, TablePlan
from tenant_migration.workflow.outcome import TableOutcome
from tenant_migration_tests.orchestration import plans


@pytest.fixture
def plan() -> Plan:
    return plans.plan(plans.table("profiles"), plans.table("claims"), plans.table("claims", schema="archive"))


def test_names_are_bare_in_the_interface_schema_only(plan: Plan) -> None:
    labels = [migrate_text.label(table.qualified_name, plan) for table in plan.tables]
    assert labels == ["profiles", "claims", "archive.claims"]


def test_the_cost_is_unknown_as_soon_as_one_table_s_is(plan: Plan) -> None:
    known = Estimate(rows=10, wal_bytes=100, heap_growth_bytes=50, seconds=0.5)
    unknown = Estimate(rows=None, wal_bytes=None, heap_growth_bytes=None, seconds=None)
    table = plan.tables[0]
    with_costs = [table.model_copy(update={"estimate": known}) for _ in range(2)]
    assert migrate_text.planned_cost(with_costs) == Estimate(
        rows=20, wal_bytes=200, heap_growth_bytes=100, seconds=1.0
    )
    assert migrate_text.planned_cost([*with_costs, table.model_copy(update={"estimate": unknown})]) == unknown


def test_triggers_that_fire_and_tables_without_a_key_limit_the_undoing(plan: Plan) -> None:
    fires = Hazard(
        name="trigger_writes_elsewhere", level=HazardLevel.WARN, detail="log_change writes audit", way_out="-"
    )
    refused = fires.model_copy(update={"level": HazardLevel.REFUSE})
    profiles, claims, archive = plan.tables
    tables: list[TablePlan] = [
        profiles.model_copy(update={"hazards": (fires,)}),
        claims.model_copy(update={"hazards": (refused,)}),
        archive.model_copy(update={"hazards": (), "key_columns": ()}),
    ]
    limits = list(migrate_text.undo_limits(plan, tables))
    assert limits[0] == "profiles: log_change writes audit"
    assert limits[1].startswith("archive.claims: rows that the application changes later")
    assert len(limits) == 2


def test_unfinished_pairs_are_listed_with_their_reasons_and_equal_reasons_together(plan: Plan) -> None:
    outcomes = [
        TableOutcome("public.profiles", "completed", tenant_states={"a": "completed"}),
        TableOutcome(
            "public.claims",
            "failed",
            "2 rows quarantined",
            tenant_states={"a": "completed", "c": "blocked", "b": "blocked", "d": "failed"},
        ),
    ]
    reasons = {
        ("public.claims", "b"): "parents not completed: public.profiles",
        ("public.claims", "c"): "parents not completed: public.profiles",
    }
    assert list(migrate_text.unfinished_lines(plan, outcomes, reasons)) == [
        "claims: failed: 2 rows quarantined",
        "   blocked: 'b', 'c': parents not completed: public.profiles",
        "   failed: 'd': no reason recorded",
    ]


def test_a_table_that_did_not_start_has_a_line_without_numbers(plan: Plan) -> None:
    result = TableResult("public.profiles", 1, "hot_waves", 10, 10, 0, 0, 0, 9, 2, 1, 0.5)
    outcomes = [
        TableOutcome("public.profiles", "completed", result=result),
        TableOutcome("public.claims", "blocked", "parents"),
    ]
    table = migrate_text.outcome_table(plan, outcomes)
    assert [list(column.cells) for column in table.columns[:3]] == [
        ["profiles", "claims"],
        ["completed", "blocked"],
        ["10", ""],
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0 ms"), (0.85, "850 ms"), (12.34, "12.3 s"), (125, "2 min 5 s"), (12_000, "3 h 20 min")],
)
def test_durations_are_readable(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_ids_with_control_characters_are_escaped() -> None:
    assert shown("O'Brien, Größe 日本") == "O'Brien, Größe 日本"
    assert shown("bell\a") == r"'bell\x07'"
