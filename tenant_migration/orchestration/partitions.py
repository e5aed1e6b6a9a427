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
from tenant_migration.orchestration.partition_keys import KEY_BYTES_MAX, keys_by_tenant
from tenant_migration.planning.counted import counted

PARTITIONS_NAME = "tenants"
ADDED_AT_ONCE = 5_000
"""Keys in one statement to Dagster's storage, far below PostgreSQL's 65,535 parameters."""

_ID_CHARACTERS_SHOWN = 40
_IDS_SHOWN = 5

tenants_partitions = dg.DynamicPartitionsDefinition(name=PARTITIONS_NAME)


@dataclass(frozen=True)
class PartitionChanges:
    """What a synchronisation did."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    left_out: tuple[str, ...]
    """Tenants, not keys: their ids are too long for one."""

    def as_text(self) -> str:
        """Return what was done as a sentence."""
        text = f"{counted(len(self.added), 'partition')} added, {len(self.removed)} removed"
        if not self.left_out:
            return text
        shown = ", ".join(f"{tenant[:_ID_CHARACTERS_SHOWN]}..." for tenant in self.left_out[:_IDS_SHOWN])
        return (
            f"{text}; {counted(len(self.left_out), 'tenant')} without a partition, as keys would be longer "
            f"than {KEY_BYTES_MAX:,} bytes ({shown}): migrate_all migrates them, `status` shows them"
        )


def sync(
    instance: dg.DagsterInstance, connection: psycopg.Connection, config: MigrationConfig
) -> PartitionChanges:
    """Make the partitions equal to the mappings: add the new ones, remove those whose mapping is gone.

    What was recorded for a removed partition stays in Dagster's history.
    """
    tenants = [mapping.tenant_id for mapping in list_mappings(connection, config)]
    keys = keys_by_tenant(tenants)
    known = set(instance.get_dynamic_partitions(PARTITIONS_NAME))
    added = [key for key in keys.values() if key not in known]
    for start in range(0, len(added), ADDED_AT_ONCE):
        instance.add_dynamic_partitions(PARTITIONS_NAME, added[start : start + ADDED_AT_ONCE])
    removed = sorted(known.difference(keys.values()))
    for key in removed:
        instance.delete_dynamic_partition(PARTITIONS_NAME, key)
    left_out = tuple(tenant for tenant in tenants if tenant not in keys)
    return PartitionChanges(tuple(added), tuple(removed), left_out)
