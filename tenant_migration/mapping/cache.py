"""What the mapper remembers: entries with a time to live, valid for one generation of the mapping."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar
from uuid import UUID

K = TypeVar("K")
V = TypeVar("V")


@dataclass
class _Entries(Generic[K, V]):
    ttl_seconds: float
    entries: dict[K, tuple[V, float]] = field(default_factory=dict)

    def get(self, key: K, now: float) -> V | None:
        found = self.entries.get(key)
        if found is None:
            return None
        value, expires_at = found
        if now >= expires_at:
            del self.entries[key]
            return None
        return value

    def put(self, key: K, value: V, now: float) -> None:
        self.entries[key] = (value, now + self.ttl_seconds)


class MappingCache:
    """Both directions of the mapping. Thread safe; no call waits for anything but another call.

    Entries are accepted only from the generation that the cache is at. Without that, a thread that read a
    mapping just before it changed could store the old value just after another thread had cleared the cache,
    and it would stay until its time to live ended.
    """

    def __init__(self, ttl_seconds: float, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._generation = 0  # the database starts at 1
        self._organizations: _Entries[str, UUID] = _Entries(ttl_seconds)
        self._tenants: _Entries[UUID, tuple[str, ...]] = _Entries(ttl_seconds)

    def organizations(self, tenant_ids: Iterable[str]) -> dict[str, UUID]:
        """Return what is known of these tenants."""
        with self._lock:
            now = self._clock()
            known = {tenant: self._organizations.get(tenant, now) for tenant in tenant_ids}
        return {tenant: organization for tenant, organization in known.items() if organization is not None}

    def tenants(self, organization_id: UUID) -> tuple[str, ...] | None:
        """Return the tenants of an organization, or None when they are not known."""
        with self._lock:
            return self._tenants.get(organization_id, self._clock())

    def advance(self, generation: int) -> None:
        """Move to a generation: a newer one forgets everything."""
        with self._lock:
            self._advance(generation)

    def store_organizations(self, generation: int, found: Mapping[str, UUID]) -> None:
        """Remember the organizations of tenants, read at `generation`."""
        with self._lock:
            if not self._advance(generation):
                return
            now = self._clock()
            for tenant, organization in found.items():
                self._organizations.put(tenant, organization, now)

    def store_tenants(self, generation: int, organization_id: UUID, tenants: tuple[str, ...]) -> None:
        """Remember all tenants of an organization, read at `generation`."""
        with self._lock:
            if self._advance(generation):
                self._tenants.put(organization_id, tenants, self._clock())

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._forget()

    def _advance(self, generation: int) -> bool:
        """Return whether what was read at `generation` is current."""
        if generation > self._generation:
            self._generation = generation
            self._forget()
        return generation == self._generation

    def _forget(self) -> None:
        self._organizations.entries.clear()
        self._tenants.entries.clear()
