"""The plan for a person: every table, hazard and refusal, readable in a pipe."""

from __future__ import annotations

import io
import re
from collections.abc import Callable

import pytest
from rich.console import Console

from tenant_migration.planning.describe import bytes_as_text, plan_as_text, seconds_as_text
from tenant_migration.planning.model import HazardLevel, Plan
from tenant_migration_tests import schemas


def piped(plan: Plan, width: int = 160) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=width, highlight=False, markup=False)
    for renderable in plan_as_text(plan):
        console.print(renderable)
    return stream.getvalue()


@pytest.mark.parametrize("schema", ["triggers", "cycles", "partitions", "awkward_names", "foreign_key_only"])
def test_every_table_and_every_refusal_is_there_without_escape_codes(
    plan_schema: Callable[..., Plan], schema: str
) -> None:
    assert schema in schemas.NAMES
    plan = plan_schema(schema)
    text = piped(plan, width=4000)
    assert "\x1b" not in text
    for table in plan.tables:
        assert table.qualified_name in text
        assert table.strategy_reason in text
        for hazard in table.hazards:
            assert hazard.name in text
            if hazard.level is not HazardLevel.INFO:
                assert (
                    f"{hazard.level.value.upper()} {table.qualified_name}: {hazard.name}: {hazard.detail}"
                    in text
                )
                assert hazard.way_out in text


def test_what_is_refused_is_the_last_word(plan_schema: Callable[..., Plan]) -> None:
    text = piped(plan_schema("triggers"))
    last = text[text.index("Will be refused") :]
    assert "public.raises: trigger_raises" in last
    assert "public.guarded" not in last


def test_a_refusal_of_the_database_holds_for_every_table(plan_schema: Callable[..., Plan]) -> None:
    assert "every table: organizations_id_type" in piped(plan_schema("organizations_bigint"))


def test_circles_derivable_and_excluded_tables_have_their_sections(plan_schema: Callable[..., Plan]) -> None:
    cycles = piped(plan_schema("cycles"))
    assert "public.three_a, public.three_b, public.three_c" in cycles
    assert "public.two_a, public.two_b" in cycles


def test_derivable_and_excluded_tables_are_listed(plan_schema: Callable[..., Plan]) -> None:
    text = piped(plan_schema("derivable", tables={"countries": {"exclude": True}}))
    assert "public.order_lines: order_id -> public.orders" in text
    assert "Left out by the configuration" not in text, "it carries no key, so nothing is left out"


def test_an_empty_plan_says_what_to_check(plan_schema: Callable[..., Plan]) -> None:
    text = piped(plan_schema("unlogged", tenant_key_columns=["no_such_column"]))
    assert "REFUSE database: no_tables: no table carries the tenant key no_such_column" in text
    assert "check tenant_key_columns and schemas in the configuration" in text


def test_a_narrow_terminal_loses_no_name(plan_schema: Callable[..., Plan]) -> None:
    text = "".join(piped(plan_schema("several_schemas"), width=80).split())
    assert "archive.orders" in text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (9_000, "9,000 B"), (20_480, "20 kB"), (5 * 1024**3, "5,120 MB"), (1e16, "9,095 TB")],
)
def test_sizes(size: float, text: str) -> None:
    assert bytes_as_text(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (59, "59.0 s"), (600, "10 min"), (9000, "2.5 h")]
)
def test_durations(seconds: float, text: str) -> None:
    assert seconds_as_text(seconds) == text


def test_one_of_a_kind_is_in_the_singular(plan_schema: Callable[..., Plan]) -> None:
    text = piped(plan_schema("null_keys"))
    assert "1 table from tenant_id to organization_id, 0 references among them" in text
    assert not re.search(r"\b1 (tables|rows|tenants|references|partitions|constraints|views)\b", text)
