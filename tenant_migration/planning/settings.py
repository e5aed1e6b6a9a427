"""The settings of one table: what `tables` says over what `defaults` says."""

from __future__ import annotations

from tenant_migration.config import DefaultsConfig, TableConfig
from tenant_migration.planning.model import TableSettings


def table_settings(defaults: DefaultsConfig, table: TableConfig) -> TableSettings:
    """Merge a table's own settings over the defaults."""
    own = table.model_dump(include=set(TableSettings.model_fields), exclude_none=True)
    return TableSettings(**{**defaults.model_dump(), **own})
