"""Suggests organizations for tenants without a mapping, by id, slug and name. Never writes.

Tenants are the distinct keys of the managed tables; what each is compared with is the organization's own id,
its slug and its name, first as they stand, then case folded. A suggestion is for a person to read: nothing
acts on one.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol
from uuid import UUID

import psycopg

from tenant_migration.config import MigrationConfig
from tenant_migration.database.connection import transaction
from tenant_migration.mapping.suggestion_queries import ManagedKey, organizations_query, unmapped_keys_query

MatchedBy = Literal["id", "slug", "name"]
_ORDER: tuple[MatchedBy, ...] = ("id", "slug", "name")

SCAN_TIMEOUT_MS = 3_600_000
"""A table without an index on the key is read whole, which may take long; it blocks nobody."""


class _Organizations(Protocol):
    @property
    def schema_name(self) -> str: ...
    @property
    def table_name(self) -> str: ...
    @property
    def id_column(self) -> str: ...
    @property
    def slug_column(self) -> str | None: ...
    @property
    def name_column(self) -> str | None: ...


class _KeyColumn(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def type_schema(self) -> str: ...
    @property
    def type_name(self) -> str: ...


class _ManagedTable(Protocol):
    @property
    def schema_name(self) -> str: ...
    @property
    def table_name(self) -> str: ...
    @property
    def tenant_column(self) -> _KeyColumn: ...
    @property
    def tenant_index(self) -> str | None: ...


class ManagedTables(Protocol):
    """What is needed of a plan. Planning stands beside mapping, not below it; `planning.model.Plan` fits."""

    @property
    def organizations(self) -> _Organizations:
        """Where the organizations are."""
        ...

    @property
    def tables(self) -> Sequence[_ManagedTable]:
        """The tables whose keys need a mapping."""
        ...


@dataclass(frozen=True)
class Candidate:
    """An organization that a tenant could belong to."""

    organization_id: UUID
    slug: str | None
    name: str | None
    matched_by: MatchedBy
    exact: bool
    """Equal as it stands, not only case folded."""

    @property
    def rank(self) -> tuple[bool, int]:
        """Exact matches first; then id, slug, name."""
        return (not self.exact, _ORDER.index(self.matched_by))


@dataclass(frozen=True)
class Suggestion:
    """A tenant without a mapping, and the organizations that match best."""

    tenant_id: str
    tables: tuple[str, ...]
    """Where the tenant has rows."""
    candidates: tuple[Candidate, ...]
    """All of the best rank: none, one, or several that cannot be told apart."""

    @property
    def organization_id(self) -> UUID | None:
        """The organization when exactly one matches best."""
        return self.candidates[0].organization_id if len(self.candidates) == 1 else None


@dataclass
class _Tenant:
    tables: list[str] = field(default_factory=list)
    candidates: list[Candidate] = field(default_factory=list)


def suggest(connection: psycopg.Connection, config: MigrationConfig, plan: ManagedTables) -> list[Suggestion]:
    """Return one suggestion for each unmapped tenant, sorted by tenant id.

    Tenants in `validation.allowed_unmapped_tenants` are left out.
    """
    tenants: dict[str, _Tenant] = {}
    allowed = set(config.validation.allowed_unmapped_tenants)
    with transaction(connection, read_only=True, statement_timeout_ms=SCAN_TIMEOUT_MS):
        for table in plan.tables:
            key = ManagedKey(
                table.schema_name,
                table.table_name,
                table.tenant_column.name,
                table.tenant_column.type_schema,
                table.tenant_column.type_name,
                has_index=table.tenant_index is not None,
            )
            for (tenant_id,) in connection.execute(unmapped_keys_query(key, config.interface_schema)):
                if tenant_id not in allowed:
                    tenants.setdefault(tenant_id, _Tenant()).tables.append(
                        f"{key.schema_name}.{key.table_name}"
                    )
        if tenants:
            _add_candidates(connection, plan.organizations, tenants)
    return [
        Suggestion(tenant_id, tuple(tenants[tenant_id].tables), _best(tenants[tenant_id].candidates))
        for tenant_id in sorted(tenants)
    ]


def _add_candidates(
    connection: psycopg.Connection, organizations: _Organizations, tenants: dict[str, _Tenant]
) -> None:
    by_folded: dict[str, list[str]] = {}
    for tenant_id in tenants:
        by_folded.setdefault(fold(tenant_id), []).append(tenant_id)
    query = organizations_query(
        organizations.schema_name,
        organizations.table_name,
        organizations.id_column,
        organizations.slug_column,
        organizations.name_column,
    )
    with connection.cursor() as cursor:
        # Row by row: there may be many more organizations than tenants without a mapping.
        for organization_id, slug, name in cursor.stream(query):
            texts: tuple[tuple[MatchedBy, str | None], ...] = (
                ("id", str(organization_id)),
                ("slug", slug),
                ("name", name),
            )
            for matched_by, text in texts:
                if text is None:
                    continue
                for tenant_id in by_folded.get(fold(text), ()):
                    tenants[tenant_id].candidates.append(
                        Candidate(organization_id, slug, name, matched_by, exact=text == tenant_id)
                    )


def _best(candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
    ranked = sorted(candidates, key=lambda candidate: (candidate.rank, candidate.organization_id))
    return tuple(candidate for candidate in ranked if candidate.rank == ranked[0].rank)


def fold(text: str) -> str:
    """Return the form in which texts are compared: no case, one form for each accented letter, trimmed."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold()).strip()
