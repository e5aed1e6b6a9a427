"""Lookups both ways between tenants and organizations, for applications that are on their way over."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TypeVar
from uuid import UUID

import psycopg

from tenant_migration.config import MigrationConfig, database_url, load_config
from tenant_migration.database.connection import connect
from tenant_migration.errors import (
    AmbiguousOrganization,
    NotInstalled,
    UnknownOrganization,
    UnknownTenant,
)
from tenant_migration.mapping import repository
from tenant_migration.mapping.cache import MappingCache
from tenant_migration.mapping.model import StatusCounts, can_be_stored

GENERATION_CHECK_SECONDS = 1.0
"""A change of a mapping in any process is seen after this long at most."""

T = TypeVar("T")


class TenantOrgMapper:
    """Looks organizations up by tenant and tenants by organization, through a cache.

    The cache holds an answer for `ttl_seconds`, and for no longer than a second after the mapping changed or
    `tenant-migration cache` was run anywhere. Unknown ids are never cached: a tenant is found as soon as it
    has a mapping. One mapper may be used by many threads. The engine never reads through it.

    Args:
        connection: an open psycopg connection in autocommit mode, which stays yours; None: the mapper opens
            its own, read only, when it first needs one, and opens it anew when it was lost.
        database_url: libpq URI for its own connection; None: `TENANT_MIGRATION_DATABASE_URL`.
        config: settings; None: the configuration file.
        ttl_seconds: how long an answer is held; None: `cache_ttl_seconds` of the configuration.
        clock: seconds that never go back; tests give their own.
    """

    def __init__(
        self,
        connection: psycopg.Connection | None = None,
        database_url: str | None = None,
        config: MigrationConfig | None = None,
        ttl_seconds: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._given = connection
        self._database_url = database_url
        self._config = config if config is not None else load_config()
        self._clock = clock
        self._cache = MappingCache(
            self._config.cache_ttl_seconds if ttl_seconds is None else ttl_seconds, clock
        )
        self._database = threading.RLock()  # one question to the database at a time
        self._own: psycopg.Connection | None = None
        self._checked_at: float | None = None

    def organization_id(self, tenant_id: str) -> UUID:
        """Return the organization of a tenant.

        Raises:
            UnknownTenant: it has no mapping.
        """
        found = self.organization_ids([tenant_id])
        if tenant_id not in found:
            raise UnknownTenant(
                f"tenant {tenant_id!r} has no mapping to an organization; "
                "add one with `tenant-migration mappings --import FILE.csv`"
            )
        return found[tenant_id]

    def organization_ids(self, tenant_ids: Iterable[str]) -> dict[str, UUID]:
        """Return {tenant: organization} for those that have a mapping; at most one query."""
        wanted = [tenant for tenant in dict.fromkeys(tenant_ids) if can_be_stored(tenant)]
        if not wanted:
            return {}
        self._check_generation()
        found = self._cache.organizations(wanted)
        missing = [tenant for tenant in wanted if tenant not in found]
        if missing:
            generation, read = self._ask(
                lambda connection: repository.organizations_of(connection, self._config, missing)
            )
            self._cache.store_organizations(generation, read)
            found.update(read)
        return {tenant: found[tenant] for tenant in wanted if tenant in found}

    def tenant_id(self, organization_id: UUID | str) -> str:
        """Return the only tenant of an organization.

        Raises:
            UnknownOrganization: no tenant is mapped to it, or it is not a uuid.
            AmbiguousOrganization: several tenants are; `tenant_ids` gives them.
        """
        tenants = self.tenant_ids(organization_id)
        if not tenants:
            raise UnknownOrganization(f"no tenant is mapped to organization {str(organization_id)!r}")
        if len(tenants) > 1:
            raise AmbiguousOrganization(
                f"organization {organization_id} has {len(tenants)} tenants, among them {tenants[0]!r} and "
                f"{tenants[1]!r}; ask for all of them with tenant_ids"
            )
        return tenants[0]

    def tenant_ids(self, organization_id: UUID | str) -> list[str]:
        """Return every tenant of an organization, sorted; empty when there is none."""
        organization = _as_uuid(organization_id)
        self._check_generation()
        tenants = self._cache.tenants(organization)
        if tenants is None:
            generation, read = self._ask(
                lambda connection: repository.tenants_of(connection, self._config, [organization])
            )
            tenants = tuple(sorted(read))
            if tenants:
                self._cache.store_tenants(generation, organization, tenants)
        return list(tenants)

    def status_counts(self) -> StatusCounts:
        """Count the mappings in each status; always asked of the database."""
        return self._ask(lambda connection: repository.status_counts(connection, self._config))

    def refresh(self) -> None:
        """Read every mapping into this mapper's cache now."""
        generation, read = self._ask(
            lambda connection: repository.organizations_of(connection, self._config, None)
        )
        self._cache.clear()
        self._cache.store_organizations(generation, read)

    def clear(self) -> None:
        """Forget what this mapper cached; the next lookup asks the database."""
        self._cache.clear()

    def close(self) -> None:
        """Close the mapper's own connection; one that was given stays open."""
        with self._database:
            if self._own is not None:
                self._own.close()
                self._own = None

    def __enter__(self) -> TenantOrgMapper:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_generation(self) -> None:
        """Learn of changes made elsewhere, at most once a second."""
        if not self._check_is_due():
            return
        with self._database:
            if not self._check_is_due():  # another thread asked while this one waited
                return
            asked_at = self._clock()  # before the question: what is committed later counts as unseen
            self._cache.advance(self._ask(repository.read_generation))
            self._checked_at = asked_at

    def _check_is_due(self) -> bool:
        return self._checked_at is None or self._clock() - self._checked_at >= GENERATION_CHECK_SECONDS

    def _ask(self, question: Callable[[psycopg.Connection], T]) -> T:
        """Ask the database; the mapper's own connection, when it was lost, is opened once more."""
        with self._database:
            try:
                return question(self._connection())
            except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName) as error:
                raise NotInstalled(
                    "the mapping's tables are missing in this database; run `tenant-migration install`"
                ) from error
            except psycopg.OperationalError:
                if self._own is None or not self._own.broken:
                    raise
                self._own = None
                return question(self._connection())

    def _connection(self) -> psycopg.Connection:
        if self._given is not None:
            return self._given
        if self._own is None or self._own.closed:
            self._own = connect(
                database_url(self._database_url),
                read_only=True,
                application_name="tenant_migration mapper",
                pin_path=True,
            )
        return self._own


def _as_uuid(organization_id: UUID | str) -> UUID:
    if isinstance(organization_id, UUID):
        return organization_id
    try:
        return UUID(organization_id)
    except ValueError:
        raise UnknownOrganization(f"{organization_id!r} is not a uuid, so it names no organization") from None
