"""What the mapper remembers: how long, for which generation, and under threads."""

from __future__ import annotations

import threading

from tenant_migration.mapping.cache import MappingCache
from tenant_migration_tests.mapping.organizations import organization


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_an_entry_lives_for_its_time_and_not_longer() -> None:
    clock = Clock()
    cache = MappingCache(300, clock)
    cache.store_organizations(1, {"local-1": organization(1)})
    cache.store_tenants(1, organization(1), ("local-1",))
    clock.now += 299.9
    assert cache.organizations(["local-1", "local-2"]) == {"local-1": organization(1)}
    assert cache.tenants(organization(1)) == ("local-1",)
    clock.now += 0.1
    assert cache.organizations(["local-1"]) == {}
    assert cache.tenants(organization(1)) is None


def test_a_time_to_live_of_zero_remembers_nothing() -> None:
    cache = MappingCache(0, Clock())
    cache.store_organizations(1, {"local-1": organization(1)})
    assert cache.organizations(["local-1"]) == {}


def test_a_newer_generation_forgets_everything() -> None:
    cache = MappingCache(300, Clock())
    cache.store_organizations(1, {"local-1": organization(1)})
    cache.store_tenants(1, organization(1), ("local-1",))
    cache.advance(1)
    assert cache.organizations(["local-1"]) == {"local-1": organization(1)}
    cache.advance(2)
    assert cache.organizations(["local-1"]) == {}
    assert cache.tenants(organization(1)) is None


def test_what_was_read_before_the_mapping_changed_is_not_stored_after() -> None:
    cache = MappingCache(300, Clock())
    cache.advance(2)
    cache.store_organizations(1, {"local-1": organization(1)})
    cache.store_tenants(1, organization(1), ("local-1",))
    assert cache.organizations(["local-1"]) == {}
    assert cache.tenants(organization(1)) is None
    cache.store_organizations(2, {"local-1": organization(2)})
    assert cache.organizations(["local-1"]) == {"local-1": organization(2)}


def test_threads_never_see_the_value_of_an_older_generation() -> None:
    cache = MappingCache(300, Clock())
    generation = 0
    wrong: list[tuple[int, int]] = []
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            at_least = generation
            for value in cache.organizations(["local-1"]).values():
                if value.int < at_least:
                    wrong.append((value.int, at_least))

    def store() -> None:
        while not stop.is_set():
            read_at = generation  # as a lookup that takes long: it stores what it read some time ago
            if read_at:
                cache.store_organizations(read_at, {"local-1": organization(read_at)})

    threads = [threading.Thread(target=target) for target in (look, look, store, store)]
    for thread in threads:
        thread.start()
    for number in range(1, 2_000):
        cache.advance(number)
        generation = number
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
