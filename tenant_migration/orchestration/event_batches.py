"""Writes very many events of one asset to Dagster's storage, as its own way stores them one by one.

`context.log_event` takes one at a time, and `DAGSTER_EVENT_BATCH_SIZE` does not change that: only the events
that Dagster itself makes for a range of partitions carry what batching needs. Like `compat` this imports what
Dagster does not document, and is tested against what the public way stores. On storage that is not PostgreSQL
everything goes Dagster's way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData as TargetMaterialization,
)
from dagster._core.events import AssetObservationData, DagsterEvent, StepMaterializationData
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable, SqlEventLogStorageTable
from dagster._serdes import serialize_value
from dagster_postgres import PostgresEventLogStorage

from tenant_migration.orchestration.event_text import (
    EventText,
    Slots,
    metadata_shape,
    metadata_slots,
    metadata_with,
)

EVENTS_AT_ONCE = 500
"""Events in one transaction: 0.1 ms an event, against 12 to 17 ms for each alone."""

_AssetEvent = TypeVar("_AssetEvent", dg.AssetMaterialization, dg.AssetObservation)
_Event = TypeVar("_Event", dg.AssetMaterialization, dg.AssetObservation, dg.AssetCheckEvaluation)
_METADATA = "metadata:"


@dataclass(frozen=True)
class EventSource:
    """The step that reports events."""

    run_id: str
    job_name: str
    step_key: str | None


RUNLESS = EventSource(run_id="", job_name="", step_key=None)
"""The source of events that no run made."""


def store_materializations(
    instance: dg.DagsterInstance, source: EventSource, events: Sequence[dg.AssetMaterialization]
) -> dict[str, TargetMaterialization]:
    """Record materializations of one asset; return, for each partition, what check results point to.

    On storage that is not PostgreSQL nothing is returned.
    """
    return _store_events(
        instance, events, lambda event, timestamp: materialization_entry(source, event, timestamp)
    )


def store_observations(
    instance: dg.DagsterInstance, source: EventSource, events: Sequence[dg.AssetObservation]
) -> None:
    """Record observations of one asset."""
    _store_events(
        instance,
        events,
        lambda event, timestamp: _entry(
            source, dg.DagsterEventType.ASSET_OBSERVATION, AssetObservationData(event), "Observed.", timestamp
        ),
    )


def store_check_evaluations(
    instance: dg.DagsterInstance, source: EventSource, evaluations: Sequence[dg.AssetCheckEvaluation]
) -> None:
    """Record results of asset checks, which Dagster's own batch writing does not take.

    Only for checks that the run did not announce beforehand: an announced one has a row to be updated.
    """
    storage = instance.event_log_storage
    batch = _Batch(
        storage, lambda evaluation, timestamp: check_entry(source, evaluation, timestamp), _EVALUATION
    )
    for chunk in _chunks(evaluations):
        if isinstance(storage, PostgresEventLogStorage):
            batch.insert_evaluations(chunk)
        else:
            storage.store_event_batch(
                [check_entry(source, evaluation, batch.timestamp) for evaluation in chunk]
            )


def materialization_entry(
    source: EventSource, event: dg.AssetMaterialization, timestamp: float
) -> dg.EventLogEntry:
    """Return a materialization as Dagster stores it."""
    return _entry(
        source,
        dg.DagsterEventType.ASSET_MATERIALIZATION,
        StepMaterializationData(event),
        "Materialized value.",
        timestamp,
    )


def check_entry(
    source: EventSource, evaluation: dg.AssetCheckEvaluation, timestamp: float
) -> dg.EventLogEntry:
    """Return a result of an asset check as Dagster stores it."""
    result = "passed" if evaluation.passed else "did not pass"
    message = f"Asset check '{evaluation.check_name}' on '{evaluation.asset_key.to_user_string()}' {result}."
    return _entry(source, dg.DagsterEventType.ASSET_CHECK_EVALUATION, evaluation, message, timestamp)


_AsEntry = Callable[[Any, float], dg.EventLogEntry]


def _store_events(
    instance: dg.DagsterInstance, events: Sequence[_AssetEvent], as_entry: _AsEntry
) -> dict[str, TargetMaterialization]:
    storage = instance.event_log_storage
    stored: dict[str, TargetMaterialization] = {}
    batch = _Batch(storage, as_entry, _ASSET_EVENT)
    for chunk in _chunks(events):
        if isinstance(storage, PostgresEventLogStorage) and not any(event.tags for event in chunk):
            stored |= batch.insert_asset_events(chunk)
        else:
            storage.store_event_batch([as_entry(event, batch.timestamp) for event in chunk])
    return stored


def _chunks(events: Sequence[_Event]) -> Iterator[Sequence[_Event]]:
    for start in range(0, len(events), EVENTS_AT_ONCE):
        yield events[start : start + EVENTS_AT_ONCE]


@dataclass(frozen=True)
class _Kind:
    """How events of a kind differ."""

    shape_of: Callable[[Any], Hashable]
    slots_of: Callable[[Any], Slots]
    with_slots: Callable[[Any, Slots], Any]


class _Batch:
    """Writes events of one step and kind, all with the moment of its making."""

    def __init__(self, storage: Any, as_entry: _AsEntry, kind: _Kind) -> None:
        self.timestamp = round(time.time(), 6)  # as the storage's own column has it
        self._storage = storage
        self._as_entry = as_entry
        self._text: EventText[Any] = EventText(
            kind.shape_of,
            kind.slots_of,
            kind.with_slots,
            lambda event: serialize_value(as_entry(event, self.timestamp)),
        )

    def insert_asset_events(self, events: Sequence[_AssetEvent]) -> dict[str, TargetMaterialization]:
        """Do for many what the storage's `store_event` does for one, in one transaction."""
        last = self._as_entry(events[-1], self.timestamp)
        with self._storage.index_transaction() as connection:
            ids = self._insert(connection, last, events, [self._text.of(event) for event in events])
            self._storage._store_asset_event(connection, last, ids[-1])
        return {
            event.partition: TargetMaterialization(
                storage_id=event_id, run_id=last.run_id, timestamp=self.timestamp
            )
            for event, event_id in zip(events, ids, strict=True)
            if event.partition is not None
        }

    def insert_evaluations(self, evaluations: Sequence[dg.AssetCheckEvaluation]) -> None:
        """As `insert_asset_events`, for results of checks."""
        texts = [self._text.of(evaluation) for evaluation in evaluations]
        first = self._as_entry(evaluations[0], self.timestamp)
        with self._storage.index_transaction() as connection:
            ids = self._insert(connection, first, evaluations, texts)
            connection.execute(
                AssetCheckExecutionsTable.insert(),
                [
                    {
                        "asset_key": evaluation.asset_key.to_string(),
                        "check_name": evaluation.check_name,
                        "run_id": first.run_id,
                        "execution_status": _status_of(evaluation).value,
                        "evaluation_event": text,
                        "evaluation_event_timestamp": self._storage._event_insert_timestamp(first),
                        "evaluation_event_storage_id": event_id,
                        "materialization_event_storage_id": target.storage_id if target else None,
                        "partition": evaluation.partition,
                    }
                    for evaluation, text, event_id in zip(evaluations, texts, ids, strict=True)
                    for target in [evaluation.target_materialization_data]
                ],
            )

    def _insert(
        self, connection: Any, entry: dg.EventLogEntry, events: Sequence[_Event], texts: Sequence[str]
    ) -> list[int]:
        """Insert rows; `entry` says what they have in common."""
        event = entry.get_dagster_event()
        inserted = connection.execute(
            SqlEventLogStorageTable.insert().returning(
                SqlEventLogStorageTable.c.id, sort_by_parameter_order=True
            ),
            [
                {
                    "run_id": entry.run_id,
                    "event": text,
                    "dagster_event_type": event.event_type_value,
                    "timestamp": self._storage._event_insert_timestamp(entry),
                    "step_key": event.step_key,
                    "asset_key": one.asset_key.to_string(),
                    "partition": one.partition,
                }
                for one, text in zip(events, texts, strict=True)
            ],
        )
        return [int(row[0]) for row in inserted.fetchall()]


def _status_of(evaluation: dg.AssetCheckEvaluation) -> AssetCheckExecutionRecordStatus:
    if evaluation.passed:
        return AssetCheckExecutionRecordStatus.SUCCEEDED
    return AssetCheckExecutionRecordStatus.FAILED


def _slots(event: Any) -> dict[str, Any]:
    slots = {f"{_METADATA}{label}": raw for label, raw in metadata_slots(event.metadata).items()}
    for name in ("partition", "description"):
        if getattr(event, name) is not None:
            slots[name] = getattr(event, name)
    return slots


def _changed(event: Any, slots: Slots) -> dict[str, Any]:
    values = {
        label.removeprefix(_METADATA): raw for label, raw in slots.items() if label.startswith(_METADATA)
    }
    return {
        "metadata": metadata_with(event.metadata, values),
        "partition": slots.get("partition"),
        "description": slots.get("description"),
    }


_ASSET_EVENT = _Kind(
    shape_of=lambda event: (event.asset_key, metadata_shape(event.metadata)),
    slots_of=_slots,
    with_slots=lambda event, slots: type(event)(asset_key=event.asset_key, **_changed(event, slots)),
)


def _slots_of_evaluation(evaluation: dg.AssetCheckEvaluation) -> Slots:
    slots = _slots(evaluation)
    target = evaluation.target_materialization_data
    if target is not None:
        slots |= {"storage_id": target.storage_id, "run_id": target.run_id, "timestamp": target.timestamp}
    return slots


def _evaluation_with(evaluation: dg.AssetCheckEvaluation, slots: Slots) -> dg.AssetCheckEvaluation:
    target = evaluation.target_materialization_data
    if target is not None:
        target = TargetMaterialization(
            storage_id=slots["storage_id"], run_id=slots["run_id"], timestamp=slots["timestamp"]
        )
    return dg.AssetCheckEvaluation(
        asset_key=evaluation.asset_key,
        check_name=evaluation.check_name,
        passed=evaluation.passed,
        severity=evaluation.severity,
        blocking=evaluation.blocking,
        target_materialization_data=target,
        **_changed(evaluation, slots),
    )


_EVALUATION = _Kind(
    shape_of=lambda evaluation: (
        evaluation.asset_key,
        evaluation.check_name,
        evaluation.passed,
        evaluation.severity,
        evaluation.blocking,
        metadata_shape(evaluation.metadata),
    ),
    slots_of=_slots_of_evaluation,
    with_slots=_evaluation_with,
)


def _entry(
    source: EventSource, kind: dg.DagsterEventType, data: Any, message: str, timestamp: float
) -> dg.EventLogEntry:
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
        timestamp=timestamp,
        step_key=source.step_key,
        job_name=source.job_name,
        dagster_event=event,
    )
