"""Installing: alone with psql or from Python, again and again, all or nothing, with one clear error."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg import sql

from tenant_migration.config import MigrationConfig
from tenant_migration.database.connection import connect
from tenant_migration.database.install import install, render, require_installed
from tenant_migration.database.sql_files import schema_version
from tenant_migration.errors import NotInstalled, Refused
from tenant_migration.resources import resource_path
from tenant_migration_tests.database.conftest import Psql
from tenant_migration_tests.database.scene import ORGANIZATIONS, Scene
from tenant_migration_tests.servers import OWNER, Server

Dump = Callable[[str], str]


@pytest.fixture
def ours(database: str) -> Iterator[psycopg.Connection]:
    with connect(database) as connection:
        yield connection


def nothing_was_made(scene: Scene) -> bool:
    return not scene.rows(
        "SELECT relname FROM pg_class WHERE relname IN ('tenant_org_mappings', 'migration_audit_log') "
        "UNION ALL SELECT nspname FROM pg_namespace WHERE nspname = 'tenant_migration'"
    )


# --- psql alone -------------------------------------------------------------------------------------------


def test_psql_alone_installs_and_the_users_sql_runs(application: Scene, run_psql: Psql) -> None:
    done = run_psql("install.sql")
    assert (done.returncode, done.stderr) == (0, _info_about_roles(done.stderr))
    application.map("acme")
    assert application.rows(
        "SELECT tenant_id FROM tenant_org_mappings WHERE migration_status = 'pending'"
    ) == [("acme",)]
    assert application.rows("SELECT * FROM get_migration_progress()") == []
    assert [row[0] for row in application.rows("SELECT * FROM validate_migration_readiness()")] == [
        "Tenant Mappings",
        "Circular References",
    ]
    assert application.rows("SELECT * FROM migration_audit_log") == []


def test_an_organizations_table_of_one_column_is_enough(
    connection: psycopg.Connection, run_psql: Psql
) -> None:
    connection.execute("CREATE TABLE organizations (id uuid PRIMARY KEY)")
    assert run_psql("install.sql").returncode == 0
    assert connection.execute("SELECT organizations_parent_id FROM tenant_migration.settings").fetchone() == (
        None,
    )
    assert connection.execute("SELECT details FROM validate_migration_readiness() OFFSET 1").fetchone() == (
        "Organizations with circular references: 0",
    )


def test_psql_runs_again_and_changes_nothing(
    application: Scene, run_psql: Psql, dump: Dump, database: str
) -> None:
    assert run_psql("install.sql").returncode == 0
    application.map("acme", "globex")
    before = (dump(database), application.rows("SELECT * FROM tenant_org_mappings ORDER BY 1"))
    again = run_psql("install.sql")
    assert (again.returncode, again.stderr) == (0, _info_about_roles(again.stderr))
    assert (dump(database), application.rows("SELECT * FROM tenant_org_mappings ORDER BY 1")) == before


def test_python_psql_and_the_printed_script_make_the_same(
    server: Server, application: Scene, run_psql: Psql, dump: Dump, database: str
) -> None:
    assert run_psql("install.sql").returncode == 0
    by_psql = dump(database)
    dumps = []
    for way in ("python", "printed"):
        name = server.create_database()
        try:
            with connect(server.url(name)) as connection:
                connection.execute(ORGANIZATIONS.replace("organizations (", "public.organizations ("))
                if way == "python":
                    install(connection, MigrationConfig())
                else:
                    connection.execute(render(MigrationConfig()).encode())
            dumps.append(dump(server.url(name)))
        finally:
            server.drop_database(name)
    assert dumps == [by_psql, by_psql]


def test_psql_remembers_what_was_installed(application: Scene, run_psql: Psql) -> None:
    application.execute('CREATE SCHEMA "App ""x"""')
    application.execute('CREATE TABLE "App ""x"""."Orgs" ("Id" uuid PRIMARY KEY, "Up" uuid)')
    variables = {
        "interface_schema": 'App "x"',
        "organizations_table": "Orgs",
        "organizations_id": "Id",
        "organizations_parent_id": "Up",
        "organization_column": "orgId",
        "tenant_key_columns": '{tenant_id,"tenantId"}',
    }
    assert run_psql("install.sql", **variables).returncode == 0
    settings = (
        "SELECT interface_schema, organizations_schema, organizations_table, organizations_id, "
        "organizations_parent_id, organization_column, tenant_key_columns::text[] FROM "
        "tenant_migration.settings"
    )
    expected = ('App "x"', 'App "x"', "Orgs", "Id", "Up", "orgId", ["tenant_id", "tenantId"])
    assert application.rows(settings) == [expected]
    again = run_psql("install.sql")
    assert (again.returncode, again.stderr) == (0, _info_about_roles(again.stderr))
    assert application.rows(settings) == [expected]
    assert application.rows('SELECT * FROM "App ""x""".get_migration_progress()') == []


@pytest.mark.parametrize(
    ("organizations", "message"),
    [
        (None, "table public.organizations does not exist"),
        (
            "CREATE TABLE organizations (id text PRIMARY KEY)",
            "column id of table public.organizations is of type text, not uuid",
        ),
    ],
)
def test_psql_gives_one_clear_error(
    connection: psycopg.Connection, run_psql: Psql, organizations: str | None, message: str
) -> None:
    if organizations:
        connection.execute(organizations)  # type: ignore[arg-type]
    done = run_psql("install.sql")
    assert done.returncode == 3
    assert done.stderr.count("ERROR:") == 1
    assert message in done.stderr
    assert "HINT:" in done.stderr
    assert nothing_was_made(Scene(connection))


def _info_about_roles(stderr: str) -> str:
    """The only lines that an installation without CREATEROLE may print."""
    return "".join(
        line for line in stderr.splitlines(keepends=True) if "INFO:  role tenant_migration_" in line
    )


# --- what has to be there ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        ("SELECT 1", r"table public\.organizations does not exist in database .*or create it"),
        (
            "CREATE TABLE public.organizations (id integer PRIMARY KEY)",
            r"column id of table public\.organizations is of type integer, not uuid.*uuid column",
        ),
        (
            "CREATE TABLE public.organizations (key uuid PRIMARY KEY)",
            r"table public\.organizations has no column id",
        ),
        (
            "CREATE TABLE public.organizations (id uuid)",
            (
                r"column id of table public\.organizations is not unique.*ALTER TABLE "
                r"public\.organizations ADD UNIQUE"
            ),
        ),
        (
            "CREATE VIEW public.organizations AS SELECT gen_random_uuid() AS id",
            r"public\.organizations is not a table",
        ),
        (
            "CREATE TABLE public.organizations (id uuid PRIMARY KEY);"
            "CREATE TABLE public.tenant_org_mappings (tenant_id text, organization_id uuid)",
            r"table public\.tenant_org_mappings is there already.*mappings --import",
        ),
        (
            "CREATE TABLE public.organizations (id uuid PRIMARY KEY);"
            "CREATE TABLE public.migration_audit_log (id integer)",
            r"table public\.migration_audit_log is there already",
        ),
        (
            "CREATE TABLE public.organizations (id uuid PRIMARY KEY);"
            "CREATE SCHEMA theirs; CREATE TABLE theirs.jobs (id integer);"
            "ALTER SCHEMA theirs RENAME TO tenant_migration",
            r"schema tenant_migration is there already, with jobs",
        ),
    ],
)
def test_a_lack_is_named_with_the_next_step(ours: psycopg.Connection, prepare: str, message: str) -> None:
    ours.execute(prepare.encode())
    with pytest.raises(Refused, match=f"(?s){message}"):
        install(ours, MigrationConfig())
    assert ours.execute(
        "SELECT count(*) FROM pg_class WHERE oid = to_regclass('tenant_migration.settings')"
    ).fetchone() == (0,)


def test_a_key_in_a_domain_or_with_a_partial_index_is_no_key(ours: psycopg.Connection) -> None:
    ours.execute("CREATE TABLE public.organizations (id uuid)")
    ours.execute("CREATE UNIQUE INDEX ON public.organizations (id) WHERE id IS NOT NULL")
    with pytest.raises(Refused, match="is not unique"):
        install(ours, MigrationConfig())


@pytest.mark.parametrize("interface", ["tenant_migration", "nowhere"])
def test_an_impossible_interface_schema_is_refused(
    application: Scene, ours: psycopg.Connection, interface: str
) -> None:
    config = MigrationConfig.model_validate(
        {"interface_schema": interface, "organizations": {"table": "public.organizations"}}
    )
    with pytest.raises(Refused, match=f"schema {interface}"):
        install(ours, config)
    assert nothing_was_made(application)


@pytest.fixture
def newcomer(server: Server, connection: psycopg.Connection) -> Iterator[str]:
    """URL of a role that owns nothing."""
    name = connection.info.dbname
    with psycopg.connect(server.superuser_url(name), autocommit=True) as administrator:
        administrator.execute("CREATE ROLE newcomer LOGIN")
        yield server.url(name, "newcomer")
        administrator.execute("DROP OWNED BY newcomer CASCADE")
        administrator.execute("DROP ROLE newcomer")


def test_missing_rights_are_named_one_after_another_with_their_grant(
    application: Scene, newcomer: str
) -> None:
    application.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
    database = application.value("SELECT quote_ident(current_database())")
    steps = [
        (r"may not create schemas in database", f"GRANT CREATE ON DATABASE {database} TO newcomer"),
        (
            r"may not read or reference table public\.organizations",
            (
                "GRANT USAGE ON SCHEMA public TO newcomer; GRANT SELECT, REFERENCES ON "
                "public.organizations TO newcomer"
            ),
        ),
        (r"may not create tables in schema public", "GRANT USAGE, CREATE ON SCHEMA public TO newcomer"),
    ]
    with connect(newcomer) as connection:
        for message, grant in steps:
            with pytest.raises(Refused, match=message) as raised:
                install(connection, MigrationConfig())
            assert grant in str(raised.value)
            application.connection.execute(grant.encode())
        install(connection, MigrationConfig())
        require_installed(connection)


def test_another_role_cannot_install_over_it(scene: Scene, newcomer: str) -> None:
    scene.execute("GRANT CREATE ON SCHEMA public TO newcomer")
    with connect(newcomer) as connection:
        with pytest.raises(Refused, match=f"belongs to role {OWNER}"):
            install(connection, MigrationConfig())
        with pytest.raises(Refused, match="may not read schema tenant_migration"):
            require_installed(connection)


@pytest.mark.parametrize("file", ["install.sql", "uninstall.sql"])
def test_psql_as_another_role_gets_one_clear_error_and_changes_nothing(
    scene: Scene, newcomer: str, run_psql: Psql, database: str, dump: Dump, file: str
) -> None:
    before = dump(database)
    done = run_psql(file, newcomer)
    assert done.returncode == 3
    assert done.stderr.count("ERROR:") == 1
    assert f"schema tenant_migration belongs to role {OWNER}" in done.stderr
    assert "HINT:" in done.stderr
    assert dump(database) == before


def test_a_member_of_the_owner_may_upgrade(scene: Scene, server: Server, newcomer: str) -> None:
    with psycopg.connect(server.superuser_url(), autocommit=True) as administrator:
        administrator.execute(sql.SQL("GRANT {} TO newcomer").format(sql.Identifier(OWNER)))
    with connect(newcomer) as connection:
        install(connection, MigrationConfig())
        require_installed(connection)
        assert connection.execute("SELECT count(*) FROM tenant_migration.runs").fetchone() == (0,)


def test_a_lock_on_the_organizations_is_not_waited_for_without_limit(
    application: Scene, ours: psycopg.Connection
) -> None:
    application.connection.autocommit = False
    application.execute("SELECT 1")
    application.execute("LOCK TABLE organizations IN ACCESS EXCLUSIVE MODE")
    with pytest.raises(Refused, match="waited 5000 ms for a lock"):
        install(ours, MigrationConfig())
    application.connection.rollback()
    application.connection.autocommit = True
    assert nothing_was_made(application)


def test_an_error_in_the_middle_leaves_nothing(application: Scene, ours: psycopg.Connection) -> None:
    application.execute("CREATE FUNCTION get_migration_progress() RETURNS integer LANGUAGE sql AS 'SELECT 1'")
    with pytest.raises(Refused, match=r"sql/110_progress\.sql, nothing changed"):
        install(ours, MigrationConfig())
    assert nothing_was_made(application)


def test_two_at_once_both_succeed(application: Scene, database: str) -> None:
    barrier = threading.Barrier(2)

    def one() -> None:
        with connect(database) as connection:
            barrier.wait()
            install(connection, MigrationConfig())

    with ThreadPoolExecutor(2) as pool:
        for outcome in [pool.submit(one) for _ in range(2)]:
            outcome.result()
    assert application.value("SELECT count(*) FROM tenant_migration.settings") == 1


# --- upgrades and other installations ---------------------------------------------------------------------


def test_an_earlier_installation_is_upgraded_with_its_contents(
    scene: Scene, ours: psycopg.Connection, dump: Dump, database: str
) -> None:
    wanted = dump(database)
    table_id = scene.manage("claims")[0]
    numbers = scene.map("acme")
    scene.pair(table_id, numbers["acme"], "running", rows=7)
    kept = scene.rows("SELECT * FROM tenant_migration.table_states")
    scene.execute("ALTER TABLE tenant_migration.settings DISABLE TRIGGER keep_installation")
    scene.execute("UPDATE tenant_migration.settings SET schema_version = 0")
    scene.execute("ALTER TABLE tenant_migration.settings ENABLE TRIGGER keep_installation")
    scene.execute("DROP FUNCTION validate_migration_readiness()")
    scene.execute("DROP TABLE tenant_migration.truncations")
    scene.execute("DROP TRIGGER states_updated ON tenant_migration.table_states")
    scene.execute("DELETE FROM tenant_migration.state_transitions WHERE from_state = 'running'")
    scene.execute("INSERT INTO tenant_migration.state_transitions VALUES ('completed', 'pending', true)")
    with pytest.raises(NotInstalled, match=f"holds version 0 .*needs {schema_version()}.*install"):
        require_installed(ours)

    install(ours, MigrationConfig())

    require_installed(ours)
    assert dump(database) == wanted
    assert scene.rows("SELECT * FROM tenant_migration.table_states") == kept
    assert scene.rows(
        "SELECT from_state FROM tenant_migration.state_transitions "
        "WHERE to_state = 'pending' OR (from_state, to_state) = ('running', 'verifying')"
    ) == [("running",)]
    scene.pair(table_id, numbers["acme"], "verifying", "completed", rows=7)  # a run that was stopped goes on


def test_a_later_installation_is_not_touched(scene: Scene, ours: psycopg.Connection) -> None:
    scene.execute("UPDATE tenant_migration.settings SET schema_version = 999")
    with pytest.raises(Refused, match="schema version 999"):
        install(ours, MigrationConfig())
    with pytest.raises(Refused, match="later release"):
        require_installed(ours)
    assert scene.value("SELECT schema_version FROM tenant_migration.settings") == 999


def test_another_interface_schema_is_refused(scene: Scene, ours: psycopg.Connection) -> None:
    config = MigrationConfig(interface_schema="app")
    with pytest.raises(Refused, match="installed with interface_schema public, not app"):
        install(ours, config)
    with pytest.raises(Refused, match="interface_schema: public"):
        require_installed(ours, config)
    require_installed(ours, MigrationConfig())


def test_other_organizations_are_refused_whoever_asks(scene: Scene, ours: psycopg.Connection) -> None:
    scene.execute("CREATE TABLE companies (id uuid PRIMARY KEY)")
    with pytest.raises(
        Refused, match=r"installed for organizations public\.organizations \(id\), not public\.companies"
    ):
        install(ours, MigrationConfig.model_validate({"organizations": {"table": "companies"}}))
    with pytest.raises(psycopg.DatabaseError, match="installed for organizations"):
        scene.execute("UPDATE tenant_migration.settings SET organizations_table = 'companies'")


def test_the_other_settings_follow_the_configuration(scene: Scene, ours: psycopg.Connection) -> None:
    config = MigrationConfig(tenant_key_columns=["tenant_id", 'we"ird, {key}'], organization_column="org_id")
    install(ours, config)
    assert scene.rows(
        "SELECT tenant_key_columns::text[], organization_column FROM tenant_migration.settings"
    ) == [(["tenant_id", 'we"ird, {key}'], "org_id")]


def test_without_installation_the_next_step_is_named(application: Scene, ours: psycopg.Connection) -> None:
    with pytest.raises(NotInstalled, match="tenant-migration install"):
        require_installed(ours)


# --- uninstalling -----------------------------------------------------------------------------------------


def test_uninstalling_leaves_no_trace(
    application: Scene, run_psql: Psql, dump: Dump, database: str, ours: psycopg.Connection
) -> None:
    application.execute("CREATE TABLE claims (id integer, tenant_id text)")
    before = dump(database)
    assert run_psql("uninstall.sql").returncode == 0  # not there: nothing happens
    install(ours, MigrationConfig())
    application.map("acme")
    table_id = application.manage("claims")[0]
    application.execute("CREATE TABLE tenant_migration.journal_1 (batch_id bigint)")
    application.execute(
        "CREATE FUNCTION tenant_migration.sync() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'"
    )
    application.execute(
        "CREATE TRIGGER sync BEFORE INSERT ON claims FOR EACH ROW EXECUTE FUNCTION tenant_migration.sync()"
    )

    run_id = application.run()
    application.lease(table_id, None, run_id, holder="anna's run")
    refused = run_psql("uninstall.sql")
    assert refused.returncode == 3
    assert "anna's run is working" in refused.stderr
    application.execute("DELETE FROM tenant_migration.leases")

    done = run_psql("uninstall.sql")
    assert (done.returncode, done.stderr) == (0, "")
    assert dump(database) == before
    install(ours, MigrationConfig())
    require_installed(ours)


def test_the_files_that_are_shipped_are_there() -> None:
    names = {file.name for file in resource_path("sql").glob("*.sql")}
    assert {"install.sql", "uninstall.sql", "administrator.sql"} <= names
