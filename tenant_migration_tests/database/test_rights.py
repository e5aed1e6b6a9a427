"""Nobody sees or does more in our schema than is meant, whatever the database's default privileges are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import psycopg
import pytest
from psycopg import sql

from tenant_migration.config import MigrationConfig
from tenant_migration.database.connection import connect
from tenant_migration.database.install import install
from tenant_migration.resources import resource_path
from tenant_migration_tests.database.conftest import Psql
from tenant_migration_tests.database.scene import Scene
from tenant_migration_tests.servers import OWNER, Server

GROUPS = ("tenant_migration_owner", "tenant_migration_operator", "tenant_migration_reader")
WRITES = {"INSERT", "UPDATE", "DELETE"}
PAST = {"migration_audit_log", "state_log"}

Person = Callable[..., Scene]


@pytest.fixture
def administrator(server: Server, connection: psycopg.Connection) -> Iterator[psycopg.Connection]:
    """A superuser in the test's database; roles that the test made are gone afterwards."""
    with psycopg.connect(server.superuser_url(connection.info.dbname), autocommit=True) as superuser:
        yield superuser
        superuser.execute(sql.SQL("ALTER ROLE {} NOCREATEROLE").format(sql.Identifier(OWNER)))
        for role in ("anna", *GROUPS):
            if superuser.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone():
                superuser.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(sql.Identifier(role)))
                superuser.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


@pytest.fixture
def grouped(administrator: psycopg.Connection, application: Scene, database: str) -> Scene:
    """Installed by an owner that may create roles."""
    administrator.execute(sql.SQL("ALTER ROLE {} CREATEROLE").format(sql.Identifier(OWNER)))
    with connect(database) as connection:
        install(connection, MigrationConfig())
    return application


@pytest.fixture
def person(server: Server, administrator: psycopg.Connection) -> Iterator[Person]:
    """Connect as anna, a member of the named groups."""
    with ExitStack() as stack:

        def connect_as(*groups: str) -> Scene:
            administrator.execute("CREATE ROLE anna LOGIN")
            for group in groups:
                administrator.execute(sql.SQL("GRANT {} TO anna").format(sql.Identifier(group)))
            url = server.url(administrator.info.dbname, "anna")
            return Scene(stack.enter_context(psycopg.connect(url, autocommit=True)))

        yield connect_as


def install_again(database: str) -> None:
    with connect(database) as connection:
        install(connection, MigrationConfig())


OUR_RELATIONS = """
    SELECT c.oid, n.nspname, c.relname, c.relkind, c.relrowsecurity, c.relforcerowsecurity
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'S')
      AND (n.nspname = 'tenant_migration' OR c.relname IN ('tenant_org_mappings', 'migration_audit_log'))
"""
OUR_FUNCTIONS = """
    SELECT p.oid::regprocedure::text AS name, p.* FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE n.nspname = 'tenant_migration'
       OR p.proname IN ('get_migration_progress', 'validate_migration_readiness', 'reset_migration')
"""


def grantees(scene: Scene) -> set[str]:
    """Everybody but the owner who holds any right on anything of ours."""
    found = scene.rows(f"""
        SELECT grantee FROM ({OUR_RELATIONS}) r JOIN pg_class c USING (oid), aclexplode(c.relacl)
        UNION SELECT grantee FROM ({OUR_RELATIONS}) r
              JOIN pg_attribute a ON a.attrelid = r.oid, aclexplode(a.attacl)
        UNION SELECT grantee FROM ({OUR_FUNCTIONS}) f,
              aclexplode(coalesce(f.proacl, acldefault('f', f.proowner)))
        UNION SELECT grantee FROM pg_namespace, aclexplode(nspacl) WHERE nspname = 'tenant_migration'
    """)
    names = dict(scene.rows("SELECT oid, rolname FROM pg_roles"))
    return {names.get(row[0], "PUBLIC") for row in found} - {OWNER}


# --- without roles ----------------------------------------------------------------------------------------


def test_without_createrole_the_installation_is_complete_and_says_what_is_missing(
    application: Scene, run_psql: Psql
) -> None:
    done = run_psql("install.sql")
    assert done.returncode == 0
    for group in GROUPS:
        assert f"role {group} was not created: {OWNER} has no CREATEROLE" in done.stderr
    assert "sql/administrator.sql" in done.stderr
    assert application.rows("SELECT FROM pg_roles WHERE rolname LIKE 'tenant_migration%'") == []
    assert grantees(application) == set()


def test_row_security_is_on_and_not_forced(scene: Scene) -> None:
    tables = [row for row in scene.rows(OUR_RELATIONS) if row[3] in "rp"]
    assert len(tables) > 15
    assert [row[2] for row in tables if not row[4] or row[5]] == []


def test_every_function_pins_its_path_and_belongs_to_the_owner(scene: Scene) -> None:
    functions = scene.rows(
        f"SELECT name, proconfig, pg_get_userbyid(proowner), prosecdef FROM ({OUR_FUNCTIONS}) f"
    )
    assert len(functions) > 20
    assert [
        name for name, config, _, _ in functions if "search_path=pg_catalog, pg_temp" not in (config or [])
    ] == []
    assert {owner for _, _, owner, _ in functions} == {OWNER}
    interface = {"get_migration_progress()", "validate_migration_readiness()", "reset_migration()"}
    assert {name: definer for name, _, _, definer in functions if name in interface} == dict.fromkeys(
        interface, False
    )


def test_a_stranger_may_nothing(scene: Scene, person: Person) -> None:
    stranger = person()
    stranger.execute("SET tenant_migration.allow_reset = 'on'")
    for attempt in (
        "SELECT * FROM public.tenant_org_mappings",
        "SELECT * FROM public.migration_audit_log",
        "INSERT INTO public.migration_audit_log (operation, actor, outcome) VALUES ('x', 'x', 'x')",
        "SELECT * FROM tenant_migration.settings",
        "SELECT public.reset_migration()",
        "SELECT * FROM public.get_migration_progress()",
        "SELECT * FROM public.validate_migration_readiness()",
        "SELECT tenant_migration.append_audit('x', 'x', 'x')",
        "SELECT tenant_migration.refuse_mapping_change('{}')",
        "TRUNCATE public.tenant_org_mappings",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            stranger.execute(attempt)


def test_default_privileges_of_the_database_give_nothing_away(
    application: Scene, administrator: psycopg.Connection, person: Person, database: str
) -> None:
    anna = person()
    for kind in ("TABLES", "SEQUENCES", "FUNCTIONS", "SCHEMAS"):
        application.execute(f"ALTER DEFAULT PRIVILEGES GRANT ALL ON {kind} TO anna")
    install_again(database)
    assert grantees(application) == set()
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        anna.execute("SELECT * FROM tenant_migration.settings")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        anna.execute("SELECT * FROM public.tenant_org_mappings")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        anna.execute("SELECT public.reset_migration()")


def test_a_journal_made_later_is_private_too(scene: Scene, person: Person) -> None:
    anna = person()
    scene.execute("ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO anna")
    scene.execute(
        'CREATE TABLE tenant_migration."journal_1 odd" (batch_id bigint GENERATED ALWAYS AS IDENTITY)'
    )
    assert grantees(scene) == {"anna"}
    scene.execute("SELECT tenant_migration.make_private('tenant_migration.\"journal_1 odd\"')")
    assert grantees(scene) == set()
    assert scene.value("SELECT relrowsecurity FROM pg_class WHERE relname = 'journal_1 odd'") is True
    assert scene.execute('INSERT INTO tenant_migration."journal_1 odd" DEFAULT VALUES') == 1
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        anna.execute('SELECT * FROM tenant_migration."journal_1 odd"')


def test_what_an_administrator_granted_on_the_users_names_survives_an_upgrade(
    scene: Scene, person: Person, database: str
) -> None:
    anna = person()
    scene.map("acme", "globex")
    scene.execute("GRANT SELECT ON tenant_org_mappings TO anna")
    scene.execute("CREATE POLICY claims ON tenant_org_mappings FOR SELECT TO anna USING (tenant_id = 'acme')")
    scene.execute("GRANT EXECUTE ON FUNCTION reset_migration() TO anna")  # granted to nobody: this does not
    scene.execute("GRANT SELECT ON ALL TABLES IN SCHEMA tenant_migration TO anna")
    install_again(database)
    assert anna.rows("SELECT tenant_id FROM public.tenant_org_mappings") == [("acme",)]
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        anna.execute("SELECT public.reset_migration()")
    assert scene.rows(
        "SELECT relname FROM pg_class, aclexplode(relacl) a WHERE a.grantee = 'anna'::regrole"
    ) == [("tenant_org_mappings",)]


def test_a_grant_on_a_column_of_ours_does_not_survive_an_installation(
    scene: Scene, person: Person, database: str
) -> None:
    person()
    scene.execute("GRANT SELECT (row_key) ON tenant_migration.quarantine TO anna")
    assert grantees(scene) == {"anna"}
    install_again(database)
    assert grantees(scene) == set()


# --- the three groups -------------------------------------------------------------------------------------


def test_an_administrator_makes_the_roles_where_the_owner_may_not(
    scene: Scene, administrator: psycopg.Connection, database: str
) -> None:
    for _ in range(2):
        administrator.execute((resource_path("sql") / "administrator.sql").read_bytes())
    install_again(database)
    assert grantees(scene) == set(GROUPS)


def test_uninstalling_takes_the_rights_and_the_roles_away(grouped: Scene, run_psql: Psql) -> None:
    assert grantees(grouped) == set(GROUPS)
    assert run_psql("uninstall.sql").returncode == 0
    assert grouped.rows("SELECT rolname FROM pg_roles WHERE rolname LIKE 'tenant_migration%'") == []


WITH_KEYS = {"quarantine", "left_alone", "reports"}
"""Tables that hold keys of the application's rows."""


def table_rights(scene: Scene, group: str) -> dict[str, set[str]]:
    """Return {our table: what the group may do with whole rows of it}."""
    rows = scene.rows(
        f"""
        SELECT c.relname, a.privilege_type
        FROM ({OUR_RELATIONS}) r JOIN pg_class c USING (oid), aclexplode(c.relacl) a
        WHERE r.relkind <> 'v' AND a.grantee = %s::regrole
        """,
        group,
    )
    rights: dict[str, set[str]] = {}
    for table, privilege in rows:
        rights.setdefault(table, set()).add(privilege)
    return rights


def test_the_groups_have_exactly_these_rights(grouped: Scene, database: str) -> None:
    grouped.execute("CREATE TABLE tenant_migration.journal_7 (batch_id bigint)")
    install_again(database)
    tables = {row[2] for row in grouped.rows(OUR_RELATIONS) if row[3] == "r"} - {"journal_7"}
    assert table_rights(grouped, "tenant_migration_owner") == {
        table: {"SELECT"} if table in PAST else {"SELECT", *WRITES} for table in tables
    }
    assert table_rights(grouped, "tenant_migration_operator") == {
        table: {"SELECT", *(WRITES if table == "tenant_org_mappings" else ())} for table in tables - WITH_KEYS
    }
    assert table_rights(grouped, "tenant_migration_reader") == {
        table: {"SELECT"} for table in tables - WITH_KEYS
    }
    assert grouped.rows(
        f"""
        SELECT c.relname, att.attname, a.grantee::regrole::text, a.privilege_type
        FROM ({OUR_RELATIONS}) r JOIN pg_class c USING (oid)
        JOIN pg_attribute att ON att.attrelid = c.oid, aclexplode(att.attacl) a
        ORDER BY 1, 2, 4
        """
    ) == sorted(
        (table, column, "tenant_migration_operator", privilege)
        for table, privilege, columns in (
            ("runs", "UPDATE", ("actor", "finished_at", "reason", "state")),
            (
                "settings",
                "UPDATE",
                (
                    "emergency_reason",
                    "emergency_stop",
                    "emergency_stopped_at",
                    "emergency_stopped_by",
                    "emergency_unstopped",
                    "mapping_generation",
                ),
            ),
            ("table_runs", "INSERT", ("actor", "reason", "run_id", "state", "table_id")),
            ("table_runs", "UPDATE", ("actor", "finished_at", "reason", "state")),
        )
        for column in columns
    )


@pytest.fixture
def worked(grouped: Scene) -> Scene:
    """Installed with roles, with something to see in every place that a group might look at."""
    grouped.execute("CREATE TABLE claims (id int, tenant_id text, organization_id uuid)")
    grouped.execute("INSERT INTO claims VALUES (1, 'acme', NULL)")
    (table_id,) = grouped.manage("claims")
    number = grouped.map("acme")["acme"]
    run_id = grouped.run()
    grouped.execute("UPDATE tenant_migration.runs SET state = 'running'")
    grouped.pair(table_id, number, "running")
    grouped.execute(
        "INSERT INTO tenant_migration.quarantine "
        "(run_id, table_id, leaf, tenant_number, row_key, sqlstate, message) "
        "VALUES (%s, %s, 1, %s, '{}', 'x', 'x')",
        run_id,
        table_id,
        number,
    )
    grouped.execute("SELECT tenant_migration.append_audit('migrate', 'anna', 'succeeded')")
    return grouped


def test_a_reader_sees_the_state_and_changes_nothing(worked: Scene, person: Person) -> None:
    reader = person("tenant_migration_reader")
    for table in (
        "public.tenant_org_mappings",
        "public.migration_audit_log",
        "tenant_migration.table_states",
    ):
        assert reader.value(f"SELECT count(*) FROM {table}") == 1
    assert reader.value("SELECT first_bad_seq FROM tenant_migration.verify_audit_chain()") is None
    with pytest.raises(
        psycopg.errors.InsufficientPrivilege, match="claims"
    ):  # no more than of the source itself
        reader.rows("SELECT * FROM public.get_migration_progress()")
    worked.execute("GRANT SELECT ON claims, organizations TO anna")
    assert reader.rows("SELECT table_name, total_rows FROM public.get_migration_progress()") == [
        ("claims", 1)
    ]
    assert len(reader.rows("SELECT * FROM public.validate_migration_readiness()")) == 2
    for attempt in (
        "SELECT * FROM tenant_migration.quarantine",
        "UPDATE public.tenant_org_mappings SET error_log = 'x'",
        "UPDATE tenant_migration.settings SET emergency_stop = true",
        "SELECT tenant_migration.append_audit('x', 'x', 'x')",
        "SELECT public.reset_migration()",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute(attempt)


def test_an_operator_maps_and_stops_and_touches_no_state(worked: Scene, person: Person) -> None:
    operator = person("tenant_migration_operator")
    organization = worked.value("SELECT id FROM organizations LIMIT 1")
    assert (
        operator.execute(
            "INSERT INTO public.tenant_org_mappings (tenant_id, organization_id) VALUES ('globex', %s)",
            organization,
        )
        == 1
    )
    assert worked.value("SELECT count(*) FROM tenant_migration.tenants") == 2  # by the trigger
    assert operator.execute("UPDATE tenant_migration.settings SET emergency_stop = true") == 1
    assert (
        operator.execute(
            "UPDATE tenant_migration.runs SET state = 'paused', actor = 'anna', reason = 'lunch'"
        )
        == 1
    )
    assert worked.rows(
        "SELECT database_role, to_state FROM tenant_migration.state_log ORDER BY log_id DESC LIMIT 1"
    ) == [("anna", "paused")]
    assert operator.value("SELECT tenant_migration.append_audit('pause', 'Anna A.', 'succeeded')") == 2
    assert worked.value("SELECT database_role FROM migration_audit_log WHERE seq = 2") == "anna"
    for attempt in (
        "INSERT INTO public.migration_audit_log (operation, actor, outcome) VALUES ('x', 'x', 'x')",
        "DELETE FROM public.migration_audit_log",
        "INSERT INTO tenant_migration.state_log (from_state, to_state, actor) VALUES ('x', 'x', 'x')",
        "UPDATE tenant_migration.table_states SET rows_migrated = 0",
        "UPDATE tenant_migration.settings SET interface_schema = 'x'",
        "INSERT INTO tenant_migration.state_transitions VALUES ('completed', 'pending', true)",
        "SELECT * FROM tenant_migration.quarantine",
        "SELECT public.reset_migration()",
        "TRUNCATE public.tenant_org_mappings",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            operator.execute(attempt)


def test_the_owner_group_writes_all_but_the_past(worked: Scene, person: Person) -> None:
    owner = person("tenant_migration_owner")
    assert owner.execute("UPDATE tenant_migration.quarantine SET resolved_at = now()") == 1
    assert owner.execute("UPDATE tenant_migration.table_states SET reason = 'x'") == 1
    for attempt in (
        "DELETE FROM public.migration_audit_log",
        "TRUNCATE public.migration_audit_log",
        "DELETE FROM tenant_migration.state_log",
        "SELECT public.reset_migration()",
        "DROP TABLE tenant_migration.runs",
        "ALTER TABLE public.migration_audit_log DISABLE TRIGGER append_only",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            owner.execute(attempt)
