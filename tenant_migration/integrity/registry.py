"""The list of all checks, in the order in which they are reported.

A new check is one file in `checks/` and one line here; the tests demand a planted defect for each.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from tenant_migration.config import MigrationConfig
from tenant_migration.errors import ConfigurationError
from tenant_migration.integrity.check import Check
from tenant_migration.integrity.checks import (
    audit_chain,
    child_matches_parent,
    circular_organizations,
    content_unchanged,
    duplicate_mappings,
    duplicate_slugs,
    existing_values_disagree,
    failed_pairs,
    foreign_keys_valid,
    generated_columns,
    identical_rows,
    journal_matches_rows,
    json_tenant_keys,
    mapping_as_migrated,
    nothing_lost,
    null_tenant_keys,
    organization_collisions,
    organization_matches_mapping,
    organization_parents,
    organizations_active,
    organizations_exist,
    orphans,
    orphans_elsewhere,
    pending_pairs,
    publications,
    references_stay_in_organization,
    references_stay_in_tenant,
    row_security,
    rows_have_organization,
    rows_stay_in_tenant,
    similar_mappings,
    structure_is_valid,
    tenants_have_mapping,
    tenants_share_organization,
    triggers,
    unique_collisions,
)
from tenant_migration.planning.model import Plan

CHECKS: tuple[Check, ...] = (
    # before
    row_security.OF_WHAT_IS_READ,
    organizations_exist.BEFORE,
    organizations_active.CHECK,
    duplicate_mappings.CHECK,
    similar_mappings.CHECK,
    tenants_share_organization.CHECK,
    duplicate_slugs.CHECK,
    circular_organizations.BEFORE,
    row_security.OF_TABLES,
    tenants_have_mapping.BEFORE,
    null_tenant_keys.CHECK,
    existing_values_disagree.CHECK,
    unique_collisions.CHECK,
    organization_collisions.CHECK,
    identical_rows.CHECK,
    foreign_keys_valid.CHECK,
    orphans.CHECK,
    orphans_elsewhere.CHECK,
    references_stay_in_organization.BEFORE,
    references_stay_in_tenant.CHECK,
    triggers.CHECK,
    publications.CHECK,
    generated_columns.CHECK,
    json_tenant_keys.CHECK,
    # after
    circular_organizations.AFTER,
    organization_parents.CHECK,
    audit_chain.CHECK,
    failed_pairs.CHECK,
    pending_pairs.CHECK,
    tenants_have_mapping.AFTER,
    rows_have_organization.CHECK,
    organizations_exist.AFTER,
    organization_matches_mapping.CHECK,
    mapping_as_migrated.CHECK,
    nothing_lost.CHECK,
    rows_stay_in_tenant.CHECK,
    journal_matches_rows.CHECK,
    content_unchanged.CHECK,
    content_unchanged.SINCE,
    structure_is_valid.INDEXES,
    structure_is_valid.FOREIGN_KEYS,
    child_matches_parent.CHECK,
    references_stay_in_organization.AFTER,
)


def refuse_unknown_names(config: MigrationConfig, plan: Plan, only: Iterable[str] = ()) -> None:
    """Refuse checks and tables that do not exist: a misspelt skip would skip nothing, or the wrong thing.

    Raises:
        ConfigurationError: naming the place, the name and the nearest known one.
    """
    names = sorted({check.name for check in CHECKS})
    for name in config.validation.severity:
        _refuse_unknown("validation.severity", "check", name, names)
    for number, skip in enumerate(config.validation.skip):
        _refuse_unknown(f"validation.skip[{number}].check", "check", skip.check, names)
        if skip.table is not None and plan.table(skip.table) is None:
            tables = [table.qualified_name for table in plan.tables]
            _refuse_unknown(f"validation.skip[{number}].table", "table", skip.table, tables)
    for name in only:
        _refuse_unknown("only", "check", name, names)


def _refuse_unknown(place: str, kind: str, name: str, known: list[str]) -> None:
    if name in known:
        return
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    raise ConfigurationError(f"{place}: there is no {kind} {name!r}{hint}")
