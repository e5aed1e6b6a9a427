"""Lookups both ways against a real database, and what the cache may and may not hide."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import psycopg
import pytest

from tenant_migration.config import MigrationConfig
from tenant_migration.database.connection import connect
from tenant_migration.database.install import install
from tenant_migration.errors import (
    AmbiguousOrganization,
    DatabaseUnavailable,
    NotInstalled,
    UnknownOrganization,
    UnknownTenant,
    UsageError,
)
from tenant_migration.mapping.mapper import TenantOrgMapper
from tenant_migration.mapping.repository import raise_generation
from tenant_migration_tests.mapping.organizations import create_organizations, map_tenants, organization
from tenant_migration_tests.servers import Server

NEVER = 10**9


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class CountingConnection:
    """Counts the statements of a real connection; everything else is the connection's."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection
        self.statements: list[str] = []

    def execute(self, query: object, *arguments: object) -> object:
        self.statements.append(query if isinstance(query, str) else query.as_string(self._connection))  # type: ignore[attr-defined]
        return self._connection.execute(query, *arguments)  # type: ignore[call-overload]

    def __getattr__(self, name: str) -> object:
        return getattr(self._connection, name)

    @property
    def lookups(self) -> int:
        return sum("tenant_org_mappings" in statement for statement in self.statements)

    @property
    def generation_checks(self) -> int:
        return len(self.statements) - self.lookups


@pytest.fixture
def counting(installed: psycopg.Connection) -> CountingConnection:
    return CountingConnection(installed)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def mapper(counting: CountingConnection, config: MigrationConfig, clock: Clock) -> TenantOrgMapper:
    return TenantOrgMapper(connection=counting, config=config, clock=clock)  # type: ignore[arg-type]


@pytest.fixture
def writer(database: str, installed: psycopg.Connection) -> Iterator[psycopg.Connection]:
    """Somebody else who changes mappings."""
    with connect(database) as connection:
        yield connection


def test_lookups_both_ways(installed: psycopg.Connection, mapper: TenantOrgMapper) -> None:
    map_tenants(installed, {"local-1": 1, "local-2": 2, "O'Brien": 2})
    assert mapper.organization_id("local-1") == organization(1)
    assert mapper.organization_id("O'Brien") == organization(2)
    assert mapper.tenant_id(organization(1)) == "local-1"
    assert mapper.tenant_id(str(organization(1))) == "local-1"
    assert mapper.tenant_ids(organization(2)) == ["O'Brien", "local-2"]
    assert mapper.tenant_ids(organization(9)) == []


def test_unknown_and_ambiguous_ids_have_errors_of_their_own(
    installed: psycopg.Connection, mapper: TenantOrgMapper
) -> None:
    map_tenants(installed, {"local-1": 1, "local-2": 1})
    with pytest.raises(UnknownTenant, match=r"tenant 'nosuch' has no mapping .* mappings --import"):
        mapper.organization_id("nosuch")
    with pytest.raises(UnknownOrganization, match="no tenant is mapped"):
        mapper.tenant_id(organization(2))
    with pytest.raises(AmbiguousOrganization, match="has 2 tenants, among them 'local-1' and 'local-2'"):
        mapper.tenant_id(organization(1))
    with pytest.raises(UnknownOrganization, match="'org-1' is not a uuid"):
        mapper.tenant_id("org-1")


@pytest.mark.parametrize("tenant", ["nul\0", "lone surrogate \udcff", "' OR ''='", "%s", "x" * 100_000])
def test_ids_that_cannot_be_stored_or_look_like_sql_are_unknown(
    installed: psycopg.Connection, mapper: TenantOrgMapper, tenant: str
) -> None:
    map_tenants(installed, {"local-1": 1})
    assert mapper.organization_ids([tenant, "local-1"]) == {"local-1": organization(1)}
    with pytest.raises(UnknownTenant):
        mapper.organization_id(tenant)


def test_a_batch_is_one_query_and_leaves_unknown_tenants_out(
    installed: psycopg.Connection, mapper: TenantOrgMapper, counting: CountingConnection
) -> None:
    map_tenants(installed, {f"local-{n}": n % 9 + 1 for n in range(500)})
    wanted = [f"local-{n}" for n in range(400)] + ["nosuch", "local-1"]
    found = mapper.organization_ids(wanted)
    assert found == {f"local-{n}": organization(n % 9 + 1) for n in range(400)}
    assert counting.lookups == 1
    mapper.organization_ids(f"local-{n}" for n in range(450))
    assert counting.lookups == 2


def test_a_known_tenant_is_asked_once_until_its_time_to_live_ends(
    installed: psycopg.Connection, mapper: TenantOrgMapper, counting: CountingConnection, clock: Clock
) -> None:
    map_tenants(installed, {"local-1": 1})
    for _ in range(50):
        mapper.organization_id("local-1")
        mapper.tenant_ids(organization(1))
    assert counting.lookups == 2  # one each way
    assert counting.generation_checks == 1
    clock.now += 299
    mapper.organization_id("local-1")
    assert counting.lookups == 2
    clock.now += 1
    mapper.organization_id("local-1")
    assert counting.lookups == 3


def test_an_unknown_tenant_is_never_cached(
    installed: psycopg.Connection, mapper: TenantOrgMapper, writer: psycopg.Connection
) -> None:
    with pytest.raises(UnknownTenant):
        mapper.organization_id("local-1")
    assert mapper.tenant_ids(organization(1)) == []
    map_tenants(writer, {"local-1": 1})  # the clock stands still: no generation is checked in between
    assert mapper.organization_id("local-1") == organization(1)
    assert mapper.tenant_ids(organization(1)) == ["local-1"]


def test_a_change_made_elsewhere_is_seen_within_a_second(
    mapper: TenantOrgMapper, writer: psycopg.Connection, clock: Clock
) -> None:
    map_tenants(writer, {"local-1": 1})
    assert mapper.organization_id("local-1") == organization(1)
    assert mapper.tenant_ids(organization(1)) == ["local-1"]
    writer.execute("UPDATE public.tenant_org_mappings SET organization_id = %s", [organization(2)])
    clock.now += 0.99
    assert mapper.organization_id("local-1") == organization(1)
    clock.now += 0.01
    assert mapper.organization_id("local-1") == organization(2)
    assert mapper.tenant_ids(organization(1)) == []
    clock.now += 1
    writer.execute("DELETE FROM public.tenant_org_mappings")
    with pytest.raises(UnknownTenant):
        mapper.organization_id("local-1")


def test_a_raised_generation_empties_every_mapper(
    mapper: TenantOrgMapper, counting: CountingConnection, writer: psycopg.Connection, clock: Clock
) -> None:
    map_tenants(writer, {"local-1": 1})
    mapper.organization_id("local-1")
    before = counting.lookups
    clock.now += 1
    mapper.organization_id("local-1")
    assert counting.lookups == before
    assert raise_generation(writer) == raise_generation(writer) - 1
    clock.now += 1
    mapper.organization_id("local-1")
    assert counting.lookups == before + 1


def test_a_lookup_that_sees_a_newer_generation_forgets_the_rest(
    mapper: TenantOrgMapper, writer: psycopg.Connection
) -> None:
    map_tenants(writer, {"local-1": 1})
    assert mapper.organization_id("local-1") == organization(1)
    writer.execute("UPDATE public.tenant_org_mappings SET organization_id = %s", [organization(2)])
    map_tenants(writer, {"local-2": 3})
    assert mapper.organization_id("local-2") == organization(3)  # read together with the newer generation
    assert mapper.organization_id("local-1") == organization(2)


def test_refresh_reads_all_and_clear_forgets_all(
    mapper: TenantOrgMapper, counting: CountingConnection, writer: psycopg.Connection
) -> None:
    map_tenants(writer, {"local-1": 1, "local-2": 2})
    mapper.refresh()
    lookups = counting.lookups
    assert mapper.organization_ids(["local-1", "local-2"]) == {
        "local-1": organization(1),
        "local-2": organization(2),
    }
    assert counting.lookups == lookups
    mapper.clear()
    mapper.organization_id("local-1")
    assert counting.lookups == lookups + 1


def test_status_counts_follow_the_database(mapper: TenantOrgMapper, writer: psycopg.Connection) -> None:
    assert mapper.status_counts().total == 0
    map_tenants(writer, {"local-1": 1, "local-2": 2})
    writer.execute(
        "UPDATE public.tenant_org_mappings SET migration_status = 'completed', record_count = 5"
        " WHERE tenant_id = 'local-2'"
    )
    counts = mapper.status_counts()
    assert (counts.total, counts.pending, counts.completed, counts.total_records) == (2, 1, 1, 5)


def test_many_threads_share_one_mapper(
    installed: psycopg.Connection, database: str, config: MigrationConfig, writer: psycopg.Connection
) -> None:
    map_tenants(installed, {f"local-{n}": 1 for n in range(20)})
    wrong: list[object] = []
    stop = threading.Event()
    with TenantOrgMapper(database_url=database, config=config) as mapper:

        def look(offset: int) -> None:
            while not stop.is_set():
                for n in range(20):
                    found = mapper.organization_ids([f"local-{(n + offset) % 20}"])
                    if set(found.values()) - {organization(1), organization(2)} or len(found) != 1:
                        wrong.append(found)

        threads = [threading.Thread(target=look, args=[offset]) for offset in range(6)]
        for thread in threads:
            thread.start()
        writer.execute("UPDATE public.tenant_org_mappings SET organization_id = %s", [organization(2)])
        stop.wait(1.2)
        stop.set()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert mapper.organization_id("local-7") == organization(2)


def test_its_own_connection_is_opened_anew_when_the_server_closed_it(
    installed: psycopg.Connection, database: str, config: MigrationConfig, clock: Clock
) -> None:
    map_tenants(installed, {"local-1": 1})
    with TenantOrgMapper(database_url=database, config=config, clock=clock) as mapper:
        assert mapper.organization_id("local-1") == organization(1)
        [(ended,)] = installed.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE application_name = 'tenant_migration mapper' AND datname = current_database()"
        )
        assert ended == 1
        clock.now += 1
        mapper.clear()
        assert mapper.organization_id("local-1") == organization(1)


def test_its_own_connection_cannot_write(
    installed: psycopg.Connection, database: str, config: MigrationConfig
) -> None:
    with (
        TenantOrgMapper(database_url=database, config=config) as mapper,
        pytest.raises(psycopg.errors.ReadOnlySqlTransaction),
    ):
        mapper._connection().execute("DELETE FROM public.tenant_org_mappings")


def test_a_given_connection_stays_open(installed: psycopg.Connection, config: MigrationConfig) -> None:
    with TenantOrgMapper(connection=installed, config=config) as mapper:
        mapper.status_counts()
    assert not installed.closed


def test_without_the_schema_the_next_step_is_named(database: str, config: MigrationConfig) -> None:
    with TenantOrgMapper(database_url=database, config=config) as mapper:
        with pytest.raises(NotInstalled, match="tenant-migration install"):
            mapper.organization_id("local-1")
        with pytest.raises(NotInstalled, match="tenant-migration install"):
            mapper.status_counts()


def test_an_unreachable_server_is_said_so(server: Server, config: MigrationConfig) -> None:
    mapper = TenantOrgMapper(database_url=server.url("nosuchdatabase"), config=config)
    with pytest.raises(DatabaseUnavailable, match="nosuchdatabase"):
        mapper.organization_id("local-1")


def test_without_a_database_the_variable_is_named(
    monkeypatch: pytest.MonkeyPatch, config: MigrationConfig
) -> None:
    monkeypatch.delenv("TENANT_MIGRATION_DATABASE_URL", raising=False)
    mapper = TenantOrgMapper(config=config)
    with pytest.raises(UsageError, match="TENANT_MIGRATION_DATABASE_URL"):
        mapper.organization_id("local-1")


def test_names_with_percent_signs_and_quotes_work(database: str) -> None:
    config = MigrationConfig(interface_schema='10% "quoted"', organizations={"table": "public.organizations"})
    with connect(database) as connection:
        create_organizations(connection)
        connection.execute('CREATE SCHEMA "10% ""quoted"""')
        install(connection, config)
        connection.execute(
            'INSERT INTO "10% ""quoted""".tenant_org_mappings (tenant_id, organization_id)'
            f" VALUES ('50%', '{organization(1)}')"
        )
        mapper = TenantOrgMapper(connection=connection, config=config)
        assert mapper.organization_id("50%") == organization(1)
        mapper.refresh()
        assert mapper.tenant_ids(organization(1)) == ["50%"]
        assert mapper.status_counts().total == 1
