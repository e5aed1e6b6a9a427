"""The last word on the sample: queries over its rows, in files that can be run with any client."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psycopg

from tenant_migration.quickstart.sample.creation import SampleSummary

QUERY_FILE = Path(__file__).with_name("independent_check.sql")
BY_TENANT_QUERY_FILE = Path(__file__).with_name("independent_check_by_tenant.sql")


@dataclass(frozen=True)
class IndependentCounts:
    """What the query returns: every row is in `rows` and, when all is well, in one of the next three."""

    rows: int
    as_mapped: int
    """Rows with the organization that the mapping names for their tenant."""
    wrong_or_missing: int
    """Rows of a tenant with a mapping that have another organization, or none."""
    allowed: int
    """Rows of the tenant that nobody mapped, without an organization."""
    shared: int
    """Rows without tenant and organization."""
    invented: int
    """Rows that have an organization although their tenant has no mapping."""

    def differences(self, summary: SampleSummary, *, rolled_back: int = 0) -> list[str]:
        """Say what is not as it has to be after a whole migration; empty: all is well.

        Args:
            summary: the sample.
            rolled_back: rows of mapped tenants that were taken back since.
        """
        expected = IndependentCounts(
            rows=summary.rows,
            as_mapped=summary.rows - summary.unmapped_rows - summary.shared_rows - rolled_back,
            wrong_or_missing=rolled_back,
            allowed=summary.unmapped_rows,
            shared=summary.shared_rows,
            invented=0,
        )
        return [
            f"{name}: {found:,}, not {wanted:,}"
            for (name, found), wanted in zip(vars(self).items(), vars(expected).values(), strict=True)
            if found != wanted
        ]


def count_independently(url: str) -> IndependentCounts:
    """Run the query, as any client would."""
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(QUERY_FILE.read_text(encoding="utf-8").encode()).fetchone()
    if row is None:
        raise AssertionError("a query without GROUP BY returns one row")
    return IndependentCounts(*row)


@dataclass(frozen=True)
class TenantCounts:
    """What the query by tenant returns of one."""

    rows: int
    with_organization: int


def count_tenants_independently(url: str) -> dict[str, TenantCounts]:
    """Run the query by tenant, as any client would."""
    with psycopg.connect(url, autocommit=True) as connection:
        rows = connection.execute(BY_TENANT_QUERY_FILE.read_text(encoding="utf-8").encode()).fetchall()
    return {tenant: TenantCounts(count, filled) for tenant, count, filled in rows}
