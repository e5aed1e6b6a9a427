"""The only place that imports what Dagster does not document.

Held by `dagster>=1.13.27,<1.14` in pyproject.toml. Each function says what it does that public API cannot,
and is tested against what the public way stores.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import dagster as dg
from dagster._config.config_schema import UserConfigSchema
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData as TargetMaterialization,
)
from dagster._core.definitions.unresolved_asset_job_definition import (
    UnresolvedAssetJobDefinition as AssetJob,
)
from dagster._core.events import AssetObservationData, DagsterEvent, StepMaterializationData
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus, PartitionBackfill
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable, SqlEventLogStorageTable
from dagster._core.storage.noop_compute_log_manager import NoOpComputeLogManager
from dagster._serdes import ConfigurableClassData, serialize_value
from dagster_postgres import DagsterPostgresStorage, PostgresEventLogStorage

__all__ = [
    "RUNLESS",
    "AssetJob",
    "ConfigurableClassData",
    "DagsterPostgresStorage",
    "EventSource",
    "NoOpComputeLogManager",
    "TargetMaterialization",
    "UserConfigSchema",
    "cancel_backfills",
    "check_entry",
    "failed_checks",
    "hold_connections",
    "latest_materializations",
    "made_by_module",
    "selected_assets",
    "store_check_evaluations",
    "store_materializations",
    "store_observations",
]

EVENTS_AT_ONCE = 500
"""Events in one INSERT: 0.4 ms an event, against 12 to 17 ms for each alone (a connection, two commits)."""

_RECYCLE_SECONDS = 600
_CONNECTIONS_MAX = 4
_Event = TypeVar("_Event", dg.AssetMaterialization, dg.AssetObservation, dg.AssetCheckEvaluation)


@dataclass(frozen=True)
class EventSource:
    """The step that reports events."""

    run_id: str
    job_name: str
    step_key: str | None


RUNLESS = EventSource(run_id="", job_name="", step_key=None)
"""The source of events that no run made."""


def hold_connections(instance: dg.DagsterInstance) -> None:
    """Keep connections to Dagster's storage open in this process, as the webserver does.

    Otherwise the storage opens a new connection for every statement: 12 ms an event instead of 4.
    """
    instance.optimize_for_webserver(
        statement_timeout=0, pool_recycle=_RECYCLE_SECONDS, max_overflow=_CONNECTIONS_MAX
    )


def selected_assets(context: dg.AssetExecutionContext) -> frozenset[dg.AssetKey]:
    """Return the assets that this run materializes, of whatever step; the context offers this step's only."""
    return frozenset(context.job_def.asset_layer.executable_asset_keys)


def made_by_module(run: dg.DagsterRun, module: str) -> bool:
    """Say whether a run's job was loaded from a module, or from one below it.

    A run has no public word about its code location; several may share an instance.
    """
    origin = run.job_code_origin
    pointer = None if origin is None else origin.repository_origin.code_pointer
    return _is_below(getattr(pointer, "module", None), module)


def cancel_backfills(
    instance: dg.DagsterInstance, module: str, assets: AbstractSet[dg.AssetKey]
) -> list[str]:
    """Let running backfills of our jobs and assets launch no more runs; return their ids.

    There is no public way without a webserver. The daemon sees the status and cancels what is launched.

    Args:
        instance: Dagster's.
        module: below which our code location is.
        assets: ours; a backfill of assets does not say which code location they are of.
    """
    found = instance.get_backfills(filters=BulkActionsFilter(statuses=[BulkActionStatus.REQUESTED]))
    ours = [backfill for backfill in found if _is_ours(backfill, module, assets)]
    for backfill in ours:
        instance.update_backfill(backfill.with_status(BulkActionStatus.CANCELING))  # type: ignore[no-untyped-call]
    return [backfill.backfill_id for backfill in ours]


def _is_ours(backfill: PartitionBackfill, module: str, assets: AbstractSet[dg.AssetKey]) -> bool:
    if backfill.partition_set_origin is None:
        return bool(backfill.asset_selection) and set(backfill.asset_selection or ()) <= assets
    location = backfill.partition_set_origin.repository_origin.code_location_origin
    target = getattr(location, "loadable_target_origin", None)
    return location.location_name == module.partition(".")[0] or _is_below(
        getattr(target, "module_name", None), module
    )


def _is_below(name: str | None, module: str) -> bool:
    return name is not None and (name == module or name.startswith(f"{module}."))


def store_materializations(
    instance: dg.DagsterInstance, source: EventSource, events: Sequence[dg.AssetMaterialization]
) -> None:
    """Record materializations of one asset, many in one statement.

    `context.log_event` takes one at a time, and `DAGSTER_EVENT_BATCH_SIZE` does not change that: only the
    events that Dagster itself makes for a range of partitions carry what batching needs.
    """
    _store_in_batches(
        instance,
        events,
        lambda event: _entry(
            source,
            dg.DagsterEventType.ASSET_MATERIALIZATION,
            StepMaterializationData(event),
            "Materialized value.",
        ),
    )


def store_observations(
    instance: dg.DagsterInstance, source: EventSource, events: Sequence[dg.AssetObservation]
) -> None:
    """Record observations of one asset, many in one statement."""
    _store_in_batches(
        instance,
        events,
        lambda event: _entry(
            source, dg.DagsterEventType.ASSET_OBSERVATION, AssetObservationData(event), "Observed."
        ),
    )


def store_check_evaluations(
    instance: dg.DagsterInstance, source: EventSource, evaluations: Sequence[dg.AssetCheckEvaluation]
) -> None:
    """Record results of asset checks, many in one statement.

    Dagster's own batch writing does not take them. On storage that is not PostgreSQL they are written one by
    one. Only for checks that the run did not announce beforehand: an announced one has a row to be updated.
    """
    entries = [check_entry(source, evaluation) for evaluation in evaluations]
    storage = instance.event_log_storage
    for start in range(0, len(entries), EVENTS_AT_ONCE):
        chunk = entries[start : start + EVENTS_AT_ONCE]
        if isinstance(storage, PostgresEventLogStorage):
            _insert_check_evaluations(storage, chunk)
        else:
            storage.store_event_batch(chunk)


def check_entry(source: EventSource, evaluation: dg.AssetCheckEvaluation) -> dg.EventLogEntry:
    """Return a result of an asset check as Dagster stores it."""
    result = "passed" if evaluation.passed else "did not pass"
    message = f"Asset check '{evaluation.check_name}' on '{evaluation.asset_key.to_user_string()}' {result}."
    return _entry(source, dg.DagsterEventType.ASSET_CHECK_EVALUATION, evaluation, message)


def latest_materializations(
    instance: dg.DagsterInstance, key: dg.AssetKey, partitions: Sequence[str]
) -> dict[str, TargetMaterialization]:
    """Return, for each partition that has one, its latest materialization, as check results point to it.

    The UI shows a result only when it points to the partition's latest materialization.
    """
    if not partitions:
        return {}  # to Dagster an empty set means every partition
    newest = instance.get_latest_storage_id_by_partition(
        key, dg.DagsterEventType.ASSET_MATERIALIZATION, set(partitions)
    )
    wanted = sorted(newest.values())
    found: dict[str, TargetMaterialization] = {}
    for start in range(0, len(wanted), EVENTS_AT_ONCE):
        chunk = wanted[start : start + EVENTS_AT_ONCE]
        result = instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=key, storage_ids=chunk), limit=len(chunk)
        )
        for record in result.records:
            if record.partition_key is not None:
                found[record.partition_key] = TargetMaterialization(
                    storage_id=record.storage_id, run_id=record.run_id, timestamp=record.timestamp
                )
    return found


def failed_checks(
    instance: dg.DagsterInstance, check: dg.AssetCheckKey, partitions: Sequence[str]
) -> frozenset[str]:
    """Return the partitions whose latest materialization has a failed result of this check already."""
    if not partitions:
        return frozenset()
    infos = instance.event_log_storage.get_asset_check_partition_info([check], partition_keys=partitions)
    return frozenset(
        info.partition_key
        for info in infos
        if info.partition_key is not None
        and info.is_current
        and info.latest_execution_status is AssetCheckExecutionRecordStatus.FAILED
    )


def _store_in_batches(
    instance: dg.DagsterInstance, events: Sequence[_Event], as_entry: Callable[[_Event], dg.EventLogEntry]
) -> None:
    storage = instance.event_log_storage
    for start in range(0, len(events), EVENTS_AT_ONCE):
        storage.store_event_batch([as_entry(event) for event in events[start : start + EVENTS_AT_ONCE]])


def _entry(source: EventSource, kind: dg.DagsterEventType, data: Any, message: str) -> dg.EventLogEntry:
    event = DagsterEvent(
        event_type_value=kind.value,
        job_name=source.job_name,
        step_key=source.step_key,
        event_specific_data=data,
        message=message,
    )
    return dg.EventLogEntry(  # type: ignore[no-untyped-call]
        error_info=None,
        level=20,
        user_message="",
        run_id=source.run_id,
        timestamp=time.time(),
        step_key=source.step_key,
        job_name=source.job_name,
        dagster_event=event,
    )


def _insert_check_evaluations(storage: PostgresEventLogStorage, entries: Sequence[dg.EventLogEntry]) -> None:
    """Do for many what the storage's `store_event` does for one, in one transaction."""
    with storage.index_transaction() as connection:
        inserted = connection.execute(
            storage.prepare_insert_event_batch(entries).returning(SqlEventLogStorageTable.c.id)
        )
        ids = [cast("int", row[0]) for row in inserted.fetchall()]
        connection.execute(
            AssetCheckExecutionsTable.insert(),
            [_execution_row(storage, entry, event_id) for entry, event_id in zip(entries, ids, strict=True)],
        )


def _execution_row(
    storage: PostgresEventLogStorage, entry: dg.EventLogEntry, event_id: int
) -> Mapping[str, Any]:
    evaluation = entry.get_dagster_event().asset_check_evaluation_data
    target = evaluation.target_materialization_data
    status = (
        AssetCheckExecutionRecordStatus.SUCCEEDED
        if evaluation.passed
        else AssetCheckExecutionRecordStatus.FAILED
    )
    return {
        "asset_key": evaluation.asset_key.to_string(),
        "check_name": evaluation.check_name,
        "run_id": entry.run_id,
        "execution_status": status.value,
        "evaluation_event": serialize_value(entry),
        "evaluation_event_timestamp": storage._event_insert_timestamp(entry),  # type: ignore[no-untyped-call]
        "evaluation_event_storage_id": event_id,
        "materialization_event_storage_id": target.storage_id if target else None,
        "partition": evaluation.partition,
    }
