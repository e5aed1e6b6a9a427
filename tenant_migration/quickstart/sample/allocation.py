"""How many rows each tenant has in each table: exact numbers, so that the whole is what was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tenant_migration.quickstart.sample.tenants import Tenant

_SHARE_PERCENT = {
    "profiles": 12.0,
    "claims": 24.0,
    "documents": 40.0,
    "precedents": 3.0,
    "clause_library": 2.5,
    "certification_applications": 1.5,
    "grievances": 9.0,
    "strike_votes": 8.0,
}
TABLES = tuple(_SHARE_PERCENT)

_EVERY_TENANT_IN = ("profiles", "claims")
"""Referred to by rows of other tables, which are of the same tenant: nobody may have none."""
_UNMAPPED_IN = ("profiles", "precedents", "clause_library")
_UNMAPPED_SHARE = 0.02
_SHARED_IN = {"precedents": 7, "clause_library": 5}
"""Rows that belong to nobody: their tenant is NULL."""

ROWS_PER_TENANT_MIN = 20
ROWS_MIN = 400


@dataclass(frozen=True)
class Allocation:
    """Rows of one tenant in one table; `tenant` is None for rows without a tenant."""

    table: str
    tenant: Tenant | None
    rows: int


def allocate(rows: int, tenants: Sequence[Tenant]) -> tuple[Allocation, ...]:
    """Divide `rows` over tables and tenants; the largest tenant of twenty gets some 28 % of them."""
    mapped = [tenant for tenant in tenants if tenant.organization_id is not None]
    unmapped = [tenant for tenant in tenants if tenant.organization_id is None]
    weights = [1 / (tenant.number + 1) for tenant in mapped]
    result: list[Allocation] = []
    table_rows = _divide(rows, [_SHARE_PERCENT[table] for table in TABLES])
    for table, total in zip(TABLES, table_rows, strict=True):
        shared = _SHARED_IN.get(table, 0)
        system = max(1, round(total * _UNMAPPED_SHARE)) if table in _UNMAPPED_IN else 0
        each = 1 if table in _EVERY_TENANT_IN else 0
        counts = _divide(total - shared - system - each * len(mapped), weights)
        for tenant, count in zip(mapped, counts, strict=True):
            result.append(Allocation(table, tenant, each + count))
        result += [Allocation(table, tenant, system) for tenant in unmapped if system]
        result += [Allocation(table, None, shared)] if shared else []
    return tuple(result)


def _divide(total: int, weights: Sequence[float]) -> list[int]:
    """Divide a whole number by weights: rounded down, the largest remainders get one more."""
    exact = [total * weight / sum(weights) for weight in weights]
    counts = [int(value) for value in exact]
    by_remainder = sorted(range(len(exact)), key=lambda index: counts[index] - exact[index])
    for index in by_remainder[: total - sum(counts)]:
        counts[index] += 1
    return counts
