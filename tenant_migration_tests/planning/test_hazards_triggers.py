"""Triggers are decided by `on_triggers`: fire, guard or refuse; the guard that is proposed works."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from tenant_migration.config import MigrationConfig
from tenant_migration.database.connection import transaction
from tenant_migration.planning.builder import build_plan
from tenant_migration.planning.model import HazardLevel, Plan
from tenant_migration_tests.planning.conftest import table_of

HARMFUL = ("audits", "by_statement", "calls_unknown", "dynamic", "notifies", "raises", "skips", "touches")


@pytest.mark.parametrize(("choice", "level"), [("fire", "warn"), ("guard", "refuse"), ("refuse", "refuse")])
def test_the_choice_decides_what_a_harmful_trigger_means(
    plan_schema: Callable[..., Plan], choice: str, level: str
) -> None:
    plan = plan_schema("triggers", defaults={"on_triggers": choice})
    for name in HARMFUL:
        levels = {
            hazard.level.value
            for hazard in table_of(plan, name).hazards
            if hazard.name.startswith("trigger_")
        }
        assert levels == {level}, name
    for name in ("guarded", "guarded_inside", "only_looks", "old_on_delete"):
        assert table_of(plan, name).refusals == ()
    for name in ("disabled", "on_delete", "other_columns", "other_column_changes", "quiet"):
        assert not [hazard for hazard in table_of(plan, name).hazards if hazard.name.startswith("trigger_")]


def test_one_table_can_choose_for_itself(plan_schema: Callable[..., Plan]) -> None:
    plan = plan_schema("triggers", tables={"audits": {"on_triggers": "fire"}})
    assert table_of(plan, "audits").refusals == ()
    assert table_of(plan, "touches").refusals != ()


def test_a_refusal_names_the_three_choices_and_what_the_trigger_does(
    plan_schema: Callable[..., Plan],
) -> None:
    plan = plan_schema("triggers")
    hazard = table_of(plan, "touches").refusals[0]
    assert "sets updated_at" in hazard.detail
    for choice in ("`fire`", "`guard`", "`refuse`"):
        assert choice in hazard.way_out
    statement = table_of(plan, "by_statement").refusals[0]
    assert "statement" in statement.detail
    assert "for each batch" in statement.detail


@pytest.mark.parametrize("name", HARMFUL)
def test_the_proposed_guard_lets_the_backfill_pass_and_keeps_the_application_s_trigger(
    load_schema: Callable[[str], psycopg.Connection], name: str
) -> None:
    connection = load_schema("triggers")
    config = MigrationConfig.model_validate({"defaults": {"on_triggers": "guard"}})
    hazard = table_of(build_plan(connection, config), name).refusals[0]
    connection.execute(hazard.way_out.split("guarded by: ")[1].split("; `fire`")[0])

    guarded = table_of(build_plan(connection, config), name)
    assert guarded.refusals == ()
    assert {h.name for h in guarded.hazards if h.level is HazardLevel.INFO} == {"trigger_guarded"}

    def effects() -> tuple[object, ...]:
        return connection.execute(  # type: ignore[return-value]
            "SELECT (SELECT count(*) FROM public.audit), (SELECT count(*) FROM public.outbox),"
            f" (SELECT max(updated_at) FROM public.{name})"
        ).fetchone()

    before = effects()
    with transaction(connection):
        written = connection.execute(f"UPDATE public.{name} SET title = title").rowcount
    assert written == 2, "no row was skipped or refused"
    assert effects() == before, "the backfill fired nothing"
    if name in ("audits", "by_statement", "calls_unknown", "touches"):
        connection.execute(f"UPDATE public.{name} SET title = title")
        assert effects() != before, "the application's own update fires it as ever"


def test_a_guard_of_a_trigger_that_has_a_condition_keeps_the_condition(
    load_schema: Callable[[str], psycopg.Connection],
) -> None:
    connection = load_schema("triggers")
    connection.execute(
        "CREATE TRIGGER conditional BEFORE UPDATE ON public.quiet FOR EACH ROW"
        " WHEN (NEW.id > 1 OR NEW.id < 0) EXECUTE FUNCTION public.touch()"
    )
    hazard = table_of(build_plan(connection, MigrationConfig()), "quiet").refusals[0]
    connection.execute(hazard.way_out.split("guarded by: ")[1].split("; `fire`")[0])
    assert table_of(build_plan(connection, MigrationConfig()), "quiet").refusals == ()
    connection.execute("UPDATE public.quiet SET title = 'x'")
    touched = connection.execute("SELECT id FROM public.quiet WHERE updated_at > '2021-01-01'").fetchall()
    assert touched == [(2,)]


def test_a_constraint_trigger_cannot_be_replaced_so_its_function_is_to_be_guarded(
    load_schema: Callable[[str], psycopg.Connection],
) -> None:
    connection = load_schema("triggers")
    connection.execute(
        "CREATE CONSTRAINT TRIGGER late AFTER UPDATE ON public.quiet DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION public.write_audit()"
    )
    table = table_of(build_plan(connection, MigrationConfig()), "quiet")
    assert "guard on tenant_migration.backfill at the start of its function" in table.refusals[0].way_out
    assert "deferrable_constraints" in {hazard.name for hazard in table.hazards}


def test_the_trigger_of_a_single_partition_counts(load_schema: Callable[[str], psycopg.Connection]) -> None:
    connection = load_schema("partitions")
    connection.execute(
        "CREATE FUNCTION public.final() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'final'; END $$;"
        "CREATE TRIGGER final BEFORE UPDATE ON public.events_2024 FOR EACH ROW"
        " EXECUTE FUNCTION public.final();"
        "CREATE TRIGGER everywhere BEFORE UPDATE ON public.regions FOR EACH ROW"
        " EXECUTE FUNCTION public.final()"
    )
    plan = build_plan(connection, MigrationConfig())
    assert [hazard.name for hazard in table_of(plan, "events").refusals] == ["trigger_raises"]
    regions = [hazard.name for hazard in table_of(plan, "regions").refusals]
    assert regions == ["trigger_raises"], "the copies on its partitions are not triggers of their own"


def test_a_statement_trigger_of_a_partitioned_table_is_silent_and_a_row_trigger_is_not(
    plan_schema: Callable[..., Plan],
) -> None:
    """The backfill names the leaves: what the root declares for each row fires there, the rest does not."""
    plan = plan_schema("partitions_with_triggers")
    named = {
        hazard.detail.split()[0].strip("`'\"")
        for hazard in table_of(plan, "events").hazards
        if hazard.name.startswith("trigger_")
    }
    assert len(named) == 1
    details = " ".join(hazard.detail for hazard in table_of(plan, "events").hazards)
    assert "each_row" in details
    assert "each_statement" not in details
    assert "conflict()" not in details


def test_a_trigger_between_root_and_leaves_fires(load_schema: Callable[[str], psycopg.Connection]) -> None:
    """PostgreSQL copies it to the leaves, where the backfill writes."""
    connection = load_schema("partitions_with_triggers")
    connection.execute(
        "CREATE TABLE public.deep (id int, tenant_id text) PARTITION BY LIST (tenant_id);"
        "CREATE TABLE public.deep_acme PARTITION OF public.deep FOR VALUES IN ('acme')"
        " PARTITION BY RANGE (id);"
        "CREATE TABLE public.deep_acme_low PARTITION OF public.deep_acme FOR VALUES FROM (0) TO (10);"
        "CREATE TRIGGER between AFTER UPDATE ON public.deep_acme FOR EACH ROW EXECUTE FUNCTION public.tell()"
    )
    refusals = table_of(build_plan(connection, MigrationConfig()), "deep").refusals
    assert [hazard.name for hazard in refusals] == ["trigger_writes_elsewhere"]
    assert "trigger between" in refusals[0].detail


@pytest.mark.parametrize(
    ("switch", "fires"),
    [
        ("ALTER TABLE ONLY public.events DISABLE TRIGGER each_row", True),
        ("ALTER TABLE public.events DISABLE TRIGGER each_row", False),
    ],
    ids=["of the root alone", "everywhere"],
)
def test_a_trigger_that_is_off_on_the_root_may_be_on_in_a_leaf(
    load_schema: Callable[[str], psycopg.Connection], switch: str, fires: bool
) -> None:
    connection = load_schema("partitions_with_triggers")
    connection.execute(switch)
    refusals = table_of(build_plan(connection, MigrationConfig()), "events").refusals
    assert bool(refusals) is fires
    connection.execute("UPDATE public.events_acme SET id = id")
    assert bool(connection.execute("SELECT FROM public.outbox").fetchall()) is fires, "as PostgreSQL does"
