"""The partitions: one for each tenant that has a mapping.

Belongs here: the definition and what keeps it equal to `tenant_org_mappings`. How an id is written as a key
is in `partition_keys`.
"""

from __future__ import annotations

from dataclasses import dataclass

import dagster as dg
import psycopg

from tenant_migration.config import MigrationConfig
from tenant_migration.mapping.repository import list_mappings
from tenant_migration.orchestration.partition_keys import partition_key

PARTITIONS_NAME = "tenants"
ADDED_AT_ONCE = 5_000
"""Keys in one statement to Dagster's storage, far below PostgreSQL's 65,535 parameters."""

tenants_partitions = dg.DynamicPartitionsDefinition(name=PARTITIONS_NAME)


@dataclass(frozen=True)
class PartitionChanges:
    """What a synchronisation did."""

    added: tuple[str, ...]
    removed: tuple[str, ...]


def sync(
    instance: dg.DagsterInstance, connection: psycopg.Connection, config: MigrationConfig
) -> PartitionChanges:
    """Make the partitions equal to the mappings: add the new ones, remove those whose mapping is gone.

    What was recorded for a removed partition stays in Dagster's history.
    """
    wanted = [partition_key(mapping.tenant_id) for mapping in list_mappings(connection, config)]
    known = set(instance.get_dynamic_partitions(PARTITIONS_NAME))
    added = [key for key in wanted if key not in known]
    for start in range(0, len(added), ADDED_AT_ONCE):
        instance.add_dynamic_partitions(PARTITIONS_NAME, added[start : start + ADDED_AT_ONCE])
    removed = sorted(known.difference(wanted))
    for key in removed:
        instance.delete_dynamic_partition(PARTITIONS_NAME, key)
    return PartitionChanges(tuple(added), tuple(removed))
