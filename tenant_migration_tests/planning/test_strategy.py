"""HOT waves while no index holds the organization column; the reason names the index that ends that."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from tenant_migration.config import MigrationConfig
from tenant_migration.planning.builder import build_plan
from tenant_migration.planning.estimate import estimate
from tenant_migration.planning.model import Plan, Strategy
from tenant_migration_tests.planning.conftest import table_of
from tenant_migration_tests.servers import Server

COLUMN = "ALTER TABLE public.declared ADD COLUMN organization_id uuid"


@pytest.mark.parametrize(
    ("definition", "name"),
    [
        ("CREATE INDEX plain ON public.declared (organization_id)", "plain"),
        ("CREATE INDEX second ON public.declared (id, organization_id)", "second"),
        ("CREATE INDEX included ON public.declared (id) INCLUDE (organization_id)", "included"),
        ("CREATE INDEX predicate ON public.declared (id) WHERE organization_id IS NULL", "predicate"),
        ("CREATE INDEX expression ON public.declared ((organization_id::text))", "expression"),
    ],
)
def test_any_index_that_holds_the_column_means_ranges(
    load_schema: Callable[[str], psycopg.Connection], definition: str, name: str
) -> None:
    connection = load_schema("no_foreign_key")
    connection.execute(f"{COLUMN}; {definition}")
    table = table_of(build_plan(connection, MigrationConfig()), "declared")
    assert table.strategy is Strategy.CTID_RANGES
    assert f"index {name} holds organization_id" in table.strategy_reason
    assert table.organization_index_exists is (name == "plain")


def test_a_summarizing_index_does_not_end_hot_updates(
    load_schema: Callable[[str], psycopg.Connection], server: Server
) -> None:
    connection = load_schema("no_foreign_key")
    connection.execute(f"{COLUMN}; CREATE INDEX ON public.declared USING brin (organization_id)")
    table = table_of(build_plan(connection, MigrationConfig()), "declared")
    assert table.strategy is (Strategy.HOT_WAVES if server.version >= 16 else Strategy.CTID_RANGES)


def test_the_index_of_a_single_partition_counts(load_schema: Callable[[str], psycopg.Connection]) -> None:
    connection = load_schema("partitions")
    connection.execute(
        "ALTER TABLE public.events ADD COLUMN organization_id uuid;"
        "CREATE INDEX only_here ON public.events_2025 (organization_id)"
    )
    table = table_of(build_plan(connection, MigrationConfig()), "events")
    assert table.strategy is Strategy.CTID_RANGES
    assert "only_here" in table.strategy_reason
    assert not table.organization_index_exists, "the other partitions have none"


def test_an_index_on_a_generated_column_that_follows_counts(plan_schema: Callable[..., Plan]) -> None:
    table = table_of(plan_schema("generated"), "from_target")
    assert table.strategy is Strategy.CTID_RANGES
    assert "from_target_short_idx holds what follows organization_id" in table.strategy_reason


@pytest.mark.parametrize(
    ("build_index", "strategy", "reason"),
    [
        ("early", Strategy.CTID_RANGES, "before the data"),
        ("after_data", Strategy.HOT_WAVES, "after the data"),
        ("finalize", Strategy.HOT_WAVES, "waits for finalize"),
    ],
)
def test_build_index_decides_where_there_is_none(
    plan_schema: Callable[..., Plan], build_index: str, strategy: Strategy, reason: str
) -> None:
    table = plan_schema("no_foreign_key", defaults={"build_index": build_index}).tables[0]
    assert table.strategy is strategy
    assert reason in table.strategy_reason


def test_waves_cost_about_half_of_ranges_with_the_usual_indexes() -> None:
    waves = estimate(Strategy.HOT_WAVES, rows=1_000_000, heap_bytes=150_000_000, index_count=5)
    ranges = estimate(Strategy.CTID_RANGES, rows=1_000_000, heap_bytes=150_000_000, index_count=5)
    assert waves.wal_bytes is not None
    assert ranges.wal_bytes is not None
    assert 0.3 < waves.wal_bytes / ranges.wal_bytes < 0.6
    assert waves.heap_growth_bytes == 39_000_000


def test_rows_are_guessed_from_the_heap_where_nothing_is_known() -> None:
    assert estimate(Strategy.HOT_WAVES, rows=None, heap_bytes=15_000, index_count=1).rows == 100
    nothing = estimate(Strategy.HOT_WAVES, rows=0, heap_bytes=8192, index_count=1)
    assert (nothing.rows, nothing.wal_bytes, nothing.heap_growth_bytes, nothing.seconds) == (0, 0, 0, 0.0)
