"""What `compat` writes in bulk is what Dagster's own way writes one by one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
import psycopg
import pytest
import sqlalchemy
from dagster._serdes import deserialize_value, serialize_value

from tenant_migration.backfill.results import TableResult
from tenant_migration.integrity.model import CheckResult, Outcome
from tenant_migration.orchestration import compat, event_batches
from tenant_migration.orchestration.event_batches import EVENTS_AT_ONCE, EventSource
from tenant_migration.orchestration.record import Recorder
from tenant_migration.workflow.outcome import TableOutcome
from tenant_migration_tests.orchestration.versions import newest_server_only

KEY = dg.AssetKey(["public", "claims"])
SOURCE = EventSource("0b6ef1a2-0000-4000-8000-000000000001", "migrate_all", "migrate__public__claims")
COLUMNS = (
    "asset_key, check_name, partition, run_id, execution_status,"
    " materialization_event_storage_id IS NOT NULL,"
    " (evaluation_event::jsonb #>> '{dagster_event,event_specific_data,partition}'),"
    " evaluation_event_storage_id IS NOT NULL"
)


def materializations(number: int) -> list[dg.AssetMaterialization]:
    return [
        dg.AssetMaterialization(KEY, partition=f"t{n}", metadata={"rows_migrated": n}) for n in range(number)
    ]


def evaluations(instance: dg.DagsterInstance, number: int) -> list[dg.AssetCheckEvaluation]:
    partitions = [f"t{n}" for n in range(number)]
    targets = compat.latest_materializations(instance, KEY, partitions)
    return [
        dg.AssetCheckEvaluation(
            asset_key=KEY,
            check_name="verification",
            passed=n % 2 == 0,
            partition=partition,
            target_materialization_data=targets.get(partition),
        )
        for n, partition in enumerate(partitions)
    ]


@pytest.fixture
def executions(storage: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(storage, autocommit=True) as connection:
        yield connection


def stored(connection: psycopg.Connection) -> list[tuple[object, ...]]:
    rows = connection.execute(f"SELECT {COLUMNS} FROM asset_check_executions ORDER BY id").fetchall()
    connection.execute("TRUNCATE asset_check_executions")
    return rows


@newest_server_only
def test_check_results_in_bulk_are_stored_as_one_by_one(
    instance: dg.DagsterInstance, executions: psycopg.Connection
) -> None:
    event_batches.store_materializations(
        instance, SOURCE, materializations(3)
    )  # the fourth has none to point to
    given = evaluations(instance, 4)
    event_batches.store_check_evaluations(instance, SOURCE, given)
    bulk = stored(executions)
    for evaluation in given:
        instance.event_log_storage.store_event(event_batches.check_entry(SOURCE, evaluation, time.time()))
    assert stored(executions) == bulk
    assert [row[4] for row in bulk] == ["SUCCEEDED", "FAILED", "SUCCEEDED", "FAILED"]
    assert [row[5] for row in bulk] == [True, True, True, False]


@newest_server_only
def test_more_events_than_one_statement_holds_all_arrive(instance: dg.DagsterInstance) -> None:
    number = EVENTS_AT_ONCE + 7
    event_batches.store_materializations(instance, SOURCE, materializations(number))
    event_batches.store_check_evaluations(instance, SOURCE, evaluations(instance, number))

    assert instance.get_materialized_partitions(KEY) == {f"t{n}" for n in range(number)}
    targets = compat.latest_materializations(instance, KEY, [f"t{n}" for n in range(number)])
    assert len(targets) == number
    check = dg.AssetCheckKey(KEY, "verification")
    failed = compat.failed_checks(instance, check, [f"t{n}" for n in range(number)])
    assert failed == {f"t{n}" for n in range(1, number, 2)}


@newest_server_only
def test_the_run_shows_the_events(instance: dg.DagsterInstance) -> None:
    event_batches.store_materializations(instance, SOURCE, materializations(2))
    event_batches.store_check_evaluations(instance, SOURCE, evaluations(instance, 2))
    records = instance.get_records_for_run(SOURCE.run_id).records
    kinds = [record.event_log_entry.dagster_event_type for record in records]
    assert (
        kinds
        == [dg.DagsterEventType.ASSET_MATERIALIZATION] * 2 + [dg.DagsterEventType.ASSET_CHECK_EVALUATION] * 2
    )


HOSTILE = ("", "a, b", 'say "x"', "\\", "\n", "ä€😀", "'; DROP TABLE x; --", "<b>", "%s", "{0}")


@newest_server_only
def test_the_stored_text_is_dagsters_own(
    instance: dg.DagsterInstance, executions: psycopg.Connection
) -> None:
    events = [
        dg.AssetMaterialization(
            KEY,
            partition=f"t{n}",
            description=None if n % 2 else text,
            metadata={
                "text": text,
                "number": n - 5,
                "share": n / 7,
                "list": dg.MetadataValue.md(f"- {text}"),
                "yes": dg.MetadataValue.bool(n % 3 == 0),
                "link": dg.MetadataValue.url(f"https://example.org/{n % 2}"),
            },
        )
        for n, text in enumerate(HOSTILE)
    ]
    targets = event_batches.store_materializations(instance, SOURCE, events)
    assert targets == compat.latest_materializations(instance, KEY, [f"t{n}" for n in range(len(HOSTILE))])
    results = [
        dg.AssetCheckEvaluation(
            asset_key=KEY,
            check_name="verification",
            passed=n % 2 == 0,
            severity=dg.AssetCheckSeverity.WARN if n % 3 else dg.AssetCheckSeverity.ERROR,
            description=text,
            metadata=event.metadata,
            partition=event.partition,
            target_materialization_data=None if n == 4 else targets[str(event.partition)],
            blocking=True,
        )
        for n, (event, text) in enumerate(zip(events, HOSTILE, strict=True))
    ]
    event_batches.store_check_evaluations(instance, SOURCE, results)
    rows = executions.execute("SELECT event FROM event_logs ORDER BY id").fetchall()
    stored = [deserialize_value(text, dg.EventLogEntry) for (text,) in rows]
    entries = [
        *(event_batches.materialization_entry(SOURCE, event, stored[0].timestamp) for event in events),
        *(event_batches.check_entry(SOURCE, result, stored[-1].timestamp) for result in results),
    ]
    assert [text for (text,) in rows] == [serialize_value(entry) for entry in entries]
    assert stored == entries


@newest_server_only
def test_nothing_is_written_for_nothing(instance: dg.DagsterInstance, executions: psycopg.Connection) -> None:
    event_batches.store_materializations(instance, SOURCE, [])
    event_batches.store_observations(instance, SOURCE, [])
    event_batches.store_check_evaluations(instance, SOURCE, [])
    assert executions.execute("SELECT count(*) FROM event_logs").fetchone() == (0,)


def test_a_storage_that_is_not_postgresql_gets_the_events_too() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        event_batches.store_materializations(instance, SOURCE, materializations(2))
        event_batches.store_check_evaluations(instance, SOURCE, evaluations(instance, 2))
        assert instance.get_materialized_partitions(KEY) == {"t0", "t1"}
        check = dg.AssetCheckKey(KEY, "verification")
        assert compat.failed_checks(instance, check, ["t0", "t1"]) == {"t1"}


@newest_server_only
def test_many_events_take_a_few_statements(instance: dg.DagsterInstance) -> None:
    with statements() as singly:
        for event in materializations(20):
            instance.report_runless_asset_event(event)
    with statements() as in_bulk:
        event_batches.store_materializations(instance, SOURCE, materializations(20))
    assert len(singly) >= 20
    assert len(in_bulk) < 10
    with statements() as of_more:
        event_batches.store_materializations(instance, SOURCE, materializations(400))
    assert len(of_more) == len(in_bulk)


@contextmanager
def statements() -> Iterator[list[str]]:
    """Collect what is sent to Dagster's storage meanwhile."""
    sent: list[str] = []

    def collect(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
        sent.append(statement)

    sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", collect)
    try:
        yield sent
    finally:
        sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", collect)


@pytest.mark.scale
@newest_server_only
def test_five_thousand_tenants_of_one_table_are_recorded_within_seconds(instance: dg.DagsterInstance) -> None:
    tenants = [f"tenant {number}" for number in range(5_000)]
    check = CheckResult("c", "post-migration", "public.claims", Outcome.PASSED, "critical", "fine", 1, 0, 1.0)
    result = TableResult(
        table="public.claims",
        run_id=1,
        strategy="hot_waves",
        rows_expected=5_000,
        rows_migrated=5_000,
        rows_kept=0,
        rows_remaining=0,
        rows_quarantined=0,
        rows_hot=4_500,
        batches=5,
        sweeps=1,
        seconds=1.0,
    )
    outcome = TableOutcome(
        table="public.claims",
        state="completed",
        result=result,
        before=(check,),
        after=(check,),
        tenant_states=dict.fromkeys(tenants, "completed"),
        tenant_rows=dict.fromkeys(tenants, 1),
    )
    started = time.monotonic()
    Recorder(instance, SOURCE, KEY).outcome(outcome)
    seconds = time.monotonic() - started
    assert len(instance.get_materialized_partitions(KEY)) == 5_000
    assert seconds < 60, f"{seconds / 5:.2f} ms for a materialization and two results"
