"""The legacy tenants: their ids, and the organizations that they go to."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from tenant_migration.quickstart.sample.hierarchy import Hierarchy, Organization

UNMAPPED_TENANT = "platform-system"
"""Owns templates and service accounts, and is no organization: what the first validation refuses."""

_QUOTED_TENANT = "o'brien-shipyard"
_QUOTED_NUMBER = 1
_LEGACY_CODE_EVERY = 4
"""Every fourth tenant has a code that no name leads to, so that a suggestion is not found for it."""
_FEDERATION_EVERY, _FEDERATION_PLACE = 11, 5
_UNION_EVERY, _UNION_PLACE = 7, 3
_MERGED_INTO = 2


@dataclass(frozen=True)
class Tenant:
    """One tenant; its organization is None when nobody mapped it."""

    number: int
    tenant_id: str
    organization_id: UUID | None


def build_tenants(hierarchy: Hierarchy) -> tuple[Tenant, ...]:
    """Return one tenant for each local, the largest first, and the unmapped one last."""
    tenants: list[Tenant] = []
    known: set[UUID] = set()
    for number in range(len(hierarchy.locals)):
        organization = _organization(hierarchy, number)
        tenant_id = _tenant_id(number, organization, is_first=organization.id not in known)
        tenants.append(Tenant(number, tenant_id, organization.id))
        known.add(organization.id)
    return (*tenants, Tenant(len(tenants), UNMAPPED_TENANT, None))


def _organization(hierarchy: Hierarchy, number: int) -> Organization:
    """Most tenants are locals; some are a whole union or federation, and the last merged into the third."""
    if number == len(hierarchy.locals) - 1:
        return hierarchy.locals[_MERGED_INTO]
    turn, place = divmod(number, _FEDERATION_EVERY)
    if place == _FEDERATION_PLACE:
        return hierarchy.federations[turn % len(hierarchy.federations)]
    turn, place = divmod(number, _UNION_EVERY)
    if place == _UNION_PLACE:
        return hierarchy.unions[turn % len(hierarchy.unions)]
    return hierarchy.locals[number]


def _tenant_id(number: int, organization: Organization, *, is_first: bool) -> str:
    if number == _QUOTED_NUMBER:
        return _QUOTED_TENANT
    if number % _LEGACY_CODE_EVERY == 0:
        return f"T-{number + 1:05d}"
    return organization.slug if is_first else f"{organization.slug}-{number + 1}"
