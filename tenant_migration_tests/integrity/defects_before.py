"""Defects that the checks before a migration find in the mapping and in the structure: as `defects.py`."""

from __future__ import annotations

from collections.abc import Callable

from tenant_migration.integrity.model import Phase
from tenant_migration_tests.integrity.defects import Defect
from tenant_migration_tests.integrity.world import World, organization_of

_BEFORE: Phase = "pre-migration"
_FEDERATION = "00000000-0000-4000-8000-000000000002"


def _sql(text: str) -> Callable[[World], object]:
    return lambda world: world.execute(text)


DEFECTS = (
    Defect(
        "similar_mappings",
        _BEFORE,
        "a tenant in two spellings",
        _sql(
            "INSERT INTO tenant_org_mappings (tenant_id, organization_id) "
            f"VALUES (E'\\u00a0Beta ', '{_FEDERATION}')"
        ),
        table=None,
        count=1,
        examples=("'beta' ~ '\u00a0Beta '",),
    ),
    Defect(
        "tenants_share_organization",
        _BEFORE,
        "two tenants of one organization",
        World.let_two_tenants_share,
        table=None,
        count=1,
        examples=(f"{organization_of('alpha')}: 'alpha', 'alpha-two'",),
    ),
)
