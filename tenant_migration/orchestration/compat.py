"""What Dagster does not document, imported here and in `event_batches` only.

Held by `dagster>=1.13.27,<1.14` in pyproject.toml. Each function says what it does that public API cannot,
and is tested against what the public way stores.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from datetime import timezone

import dagster as dg
import sqlalchemy
from dagster._config.config_schema import UserConfigSchema
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData as TargetMaterialization,
)
from dagster._core.definitions.unresolved_asset_job_definition import (
    UnresolvedAssetJobDefinition as AssetJob,
)
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus, PartitionBackfill
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._core.storage.noop_compute_log_manager import NoOpComputeLogManager
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage, PostgresEventLogStorage

__all__ = [
    "AssetJob",
    "ConfigurableClassData",
    "DagsterPostgresStorage",
    "NoOpComputeLogManager",
    "TargetMaterialization",
    "UserConfigSchema",
    "cancel_backfills",
    "failed_checks",
    "hold_connections",
    "latest_materializations",
    "made_by_module",
    "selected_assets",
]

_IDS_AT_ONCE = 500
_RECYCLE_SECONDS = 600
_CONNECTIONS_MAX = 4


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
    found: dict[str, TargetMaterialization] = {}
    wanted = sorted(newest.values())
    for start in range(0, len(wanted), _IDS_AT_ONCE):
        found |= _targets(instance, key, wanted[start : start + _IDS_AT_ONCE])
    return found


def _targets(
    instance: dg.DagsterInstance, key: dg.AssetKey, storage_ids: Sequence[int]
) -> dict[str, TargetMaterialization]:
    storage = instance.event_log_storage
    if not isinstance(storage, PostgresEventLogStorage):
        result = instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=key, storage_ids=list(storage_ids)), limit=len(storage_ids)
        )
        return {
            record.partition_key: TargetMaterialization(
                storage_id=record.storage_id, run_id=record.run_id, timestamp=record.timestamp
            )
            for record in result.records
            if record.partition_key is not None
        }
    columns = SqlEventLogStorageTable.c  # reading the event itself takes twenty times as long
    query = sqlalchemy.select(columns.id, columns.run_id, columns.timestamp, columns.partition)
    with storage.index_connection() as connection:
        rows = connection.execute(query.where(columns.id.in_(storage_ids))).fetchall()
    return {
        partition: TargetMaterialization(
            storage_id=storage_id, run_id=run_id, timestamp=moment.replace(tzinfo=timezone.utc).timestamp()
        )
        for storage_id, run_id, moment, partition in rows
    }


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
