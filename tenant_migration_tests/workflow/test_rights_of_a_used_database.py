"""Who may see and do what, in a database that was migrated: journals, claims, backups and all.

The catalog is asked, so that what a later release adds is judged too; then people try.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import psycopg
import pytest
from psycopg import sql

from tenant_migration.config import MigrationConfig
from tenant_migration.database.connection import connect
from tenant_migration.database.install import install
from tenant_migration.planning.builder import build_plan
from tenant_migration.planning.storage import load_plan, store_plan
from tenant_migration.resources import resource_path
from tenant_migration.workflow.backup import take_backup
from tenant_migration.workflow.migrate import migrate
from tenant_migration.workflow.rollback import rollback
from tenant_migration.workflow.validate import verify
from tenant_migration_tests.servers import OWNER, Server
from tenant_migration_tests.workflow.conftest import TENANTS, fill_application

GROUPS = ("tenant_migration_owner", "tenant_migration_operator", "tenant_migration_reader")
PEOPLE = {
    "used_app": (),
    "used_owner": ("tenant_migration_owner",),
    "used_operator": ("tenant_migration_operator",),
    "used_reader": ("tenant_migration_reader",),
}
OF_ROWS = r"^(journal|claims|backup)_[0-9]|^(quarantine|left_alone|reports)$"
"""Relations that hold keys or contents of the application's rows."""


@dataclass(frozen=True)
class Used:
    """The database after all that the tool does, and connections to it."""

    server: Server
    name: str
    owner: psycopg.Connection
    superuser: psycopg.Connection
    people: dict[str, psycopg.Connection]

    def names(self, query: str) -> list[str]:
        return [row[0] for row in self.superuser.execute(query).fetchall()]

    def relations(self, kinds: str = "rpvmS") -> list[tuple[str, str]]:
        """Every relation of ours: (schema, name)."""
        return self.superuser.execute(
            "SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n"
            ' ON n.oid = c.relnamespace WHERE c.relkind = ANY (%s::"char"[])'
            " AND (n.nspname = 'tenant_migration'"
            "      OR n.nspname = 'public' AND c.relname IN ('tenant_org_mappings', 'migration_audit_log'))"
            " ORDER BY 1, 2",
            [list(kinds)],
        ).fetchall()


@pytest.fixture(scope="module")
def used(server: Server) -> Iterator[Used]:
    name = server.create_database()
    with ExitStack() as stack:
        superuser = stack.enter_context(psycopg.connect(server.superuser_url(name), autocommit=True))
        superuser.execute((resource_path("sql") / "administrator.sql").read_bytes())
        for person, groups in PEOPLE.items():
            superuser.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(person)))
            for group in groups:
                superuser.execute(
                    sql.SQL("GRANT {} TO {}").format(sql.Identifier(group), sql.Identifier(person))
                )
        stack.callback(_drop, server, name, superuser)
        owner = stack.enter_context(psycopg.connect(server.url(name), autocommit=True))
        _use(server.url(name), owner)
        people = {
            person: stack.enter_context(psycopg.connect(server.url(name, person), autocommit=True))
            for person in PEOPLE
        }
        yield Used(server, name, owner, superuser, people)


def _use(url: str, owner: psycopg.Connection) -> None:
    """Do all that makes relations, where whatever is made is everybody's by default."""
    fill_application(owner)
    owner.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON members, claims, notes TO used_app")
    for kind in ("TABLES", "SEQUENCES", "FUNCTIONS", "SCHEMAS"):
        owner.execute(f"ALTER DEFAULT PRIVILEGES GRANT ALL ON {kind} TO PUBLIC, used_app")
    config = MigrationConfig.model_validate({"defaults": {"fingerprints": "journal"}})
    with connect(url, pin_path=True) as connection:
        install(connection, config, actor="test")
        for tenant in TENANTS:
            owner.execute(
                "INSERT INTO tenant_org_mappings (tenant_id, organization_id)"
                " SELECT %s, id FROM organizations ORDER BY id LIMIT 1",
                [tenant],
            )
        plan = build_plan(connection, config)
        store_plan(connection, plan, "test")
        take_backup(connection, config, plan, actor="test")
        take_backup(connection, config, plan, actor="test", tenants=["acme"])
        outcomes = migrate(connection, config, plan, actor="test")
        assert {outcome.state for outcome in outcomes} == {"completed"}, outcomes
        owner.execute("UPDATE notes SET organization_id = NULL WHERE id = 1")
        rollback(connection, config, plan, actor="test", tenants=["zeta"])


def _drop(server: Server, name: str, superuser: psycopg.Connection) -> None:
    superuser.close()
    server.drop_database(name)  # before the roles: DROP OWNED in it could meet autovacuum
    with psycopg.connect(server.superuser_url(), autocommit=True) as connection:
        for role in (*PEOPLE, *GROUPS):
            connection.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(sql.Identifier(role)))
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def test_there_is_something_to_look_at(used: Used) -> None:
    found = {name.partition("_")[0] for _, name in used.relations("rp")}
    assert {"journal", "claims", "backup"} <= found


def test_every_table_has_row_security_enabled_and_not_forced(used: Used) -> None:
    assert used.names(
        "SELECT c.relname::text FROM pg_class c WHERE c.relkind IN ('r', 'p') AND (NOT c.relrowsecurity"
        " OR c.relforcerowsecurity) AND (c.relnamespace = 'tenant_migration'::regnamespace"
        " OR c.oid IN ('public.tenant_org_mappings'::regclass, 'public.migration_audit_log'::regclass))"
    ) == []  # fmt: skip


def test_every_view_asks_with_the_rights_of_who_looks(used: Used) -> None:
    views = used.superuser.execute(
        "SELECT relname::text, reloptions FROM pg_class WHERE relkind IN ('v', 'm')"
        " AND relnamespace = 'tenant_migration'::regnamespace"
    ).fetchall()
    assert views
    assert [view for view, options in views if "security_invoker=true" not in (options or [])] == []


def test_nobody_but_the_groups_holds_a_right_and_none_on_what_holds_rows(used: Used) -> None:
    """Default privileges gave everything to everybody, when each was made."""
    rights = used.superuser.execute(
        """
        SELECT c.relname::text, a.grantee FROM pg_class c, aclexplode(c.relacl) a
        WHERE (c.relnamespace = 'tenant_migration'::regnamespace
               OR c.oid IN ('public.tenant_org_mappings'::regclass, 'public.migration_audit_log'::regclass))
          AND c.relkind <> 'i' AND a.grantee <> c.relowner
        UNION SELECT c.relname::text, a.grantee FROM pg_class c JOIN pg_attribute t ON t.attrelid = c.oid,
                     aclexplode(t.attacl) a WHERE c.relnamespace = 'tenant_migration'::regnamespace
        """
    ).fetchall()
    names = dict(used.superuser.execute("SELECT oid, rolname::text FROM pg_roles").fetchall())
    assert {names.get(grantee, "PUBLIC") for _, grantee in rights} == set(GROUPS)
    of_rows = set(
        used.names(
            "SELECT relname::text FROM pg_class WHERE relnamespace = 'tenant_migration'::regnamespace"
            f" AND relkind IN ('r', 'p') AND relname ~ '{OF_ROWS}'"
        )
    )
    assert len(of_rows) > 6
    holders = {names.get(grantee, "PUBLIC") for name, grantee in rights if name in of_rows}
    assert holders <= {"tenant_migration_owner"}
    owners_tables = {name for name, grantee in rights if names.get(grantee) == GROUPS[0]} & of_rows
    assert owners_tables <= {"quarantine", "left_alone", "reports"}, "contents of rows are nobody's"


def test_every_function_pins_its_path_and_public_may_call_none(used: Used) -> None:
    functions = used.superuser.execute(
        """
        SELECT p.oid::regprocedure::text, p.proconfig, p.prosecdef, p.prorettype = 'trigger'::regtype,
               EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
                       WHERE a.grantee = 0), pg_get_userbyid(p.proowner)::text
        FROM pg_proc p WHERE p.pronamespace = 'tenant_migration'::regnamespace
           OR p.oid IN ('public.get_migration_progress()'::regprocedure,
                        'public.validate_migration_readiness()'::regprocedure,
                        'public.reset_migration()'::regprocedure)
        """
    ).fetchall()
    assert len(functions) > 20
    unpinned = [name for name, config, *_ in functions if "search_path=pg_catalog, pg_temp" not in config]
    assert unpinned == []
    assert [name for name, _, _, is_trigger, public, _ in functions if public and not is_trigger] == []
    assert {owner for *_, owner in functions} == {OWNER}
    definers = {
        name.partition("(")[0].removeprefix("tenant_migration.")
        for name, _, definer, *_ in functions
        if definer
    }
    assert not definers & {"reset_migration", "acquire_lease"}


def test_nobody_outside_of_the_groups_may_call_or_attach_a_function_of_ours(used: Used) -> None:
    """Who may execute a trigger function could attach it to a table of his own and claim rows with it."""
    rights = used.superuser.execute(
        """
        SELECT p.oid::regprocedure::text, a.grantee::regrole::text
        FROM pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
        WHERE p.pronamespace = 'tenant_migration'::regnamespace AND a.grantee <> p.proowner
        """
    ).fetchall()
    assert {grantee for _, grantee in rights} <= set(GROUPS)
    assert [name for name, _ in rights if re.search(r"\bclaim_\d", name)] == []
    claims = used.superuser.execute("SELECT FROM pg_proc WHERE proname ~ '^claim_[0-9]+$'").fetchall()
    assert len(claims) == 3


@pytest.mark.parametrize("person", PEOPLE)
def test_nobody_reads_keys_or_contents_of_rows_here(person: str, used: Used) -> None:
    for schema, table in used.relations("rp"):
        if not table.startswith(("journal_", "claims_", "backup_")):
            continue
        for statement in ("SELECT FROM {}", "DELETE FROM {}", "TRUNCATE {}"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                used.people[person].execute(sql.SQL(statement).format(sql.Identifier(schema, table)))


def test_the_application_and_everybody_see_nothing_of_ours(used: Used) -> None:
    for schema, relation in used.relations():
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            used.people["used_app"].execute(
                sql.SQL("SELECT * FROM {}").format(sql.Identifier(schema, relation))
            )


@pytest.mark.parametrize("person", ["used_operator", "used_reader"])
def test_a_report_shows_keys_to_the_owner_alone(person: str, used: Used) -> None:
    used.owner.execute(
        "UPDATE notes SET id = 987654321 WHERE id = 1"
    )  # lost its organization: an example of the report
    with connect(used.server.url(used.name), pin_path=True) as connection:
        verify(connection, MigrationConfig(), load_plan(connection), actor="test")
    pattern = "987654321"
    assert used.names(f"SELECT report_id FROM tenant_migration.reports r WHERE r::text ~ '{pattern}'")
    for schema, relation in used.relations("rpv"):
        statement = sql.SQL("SELECT 1 FROM {} AS r WHERE r::text ~ {}").format(
            sql.Identifier(schema, relation), sql.Literal(pattern)
        )
        try:
            found = used.people[person].execute(statement).fetchall()
        except psycopg.errors.InsufficientPrivilege:
            continue
        assert found == [], f"{person} reads a row's key in {relation}"
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        used.people[person].execute("SELECT FROM tenant_migration.reports")
    used.owner.execute("UPDATE notes SET id = 1 WHERE id = 987654321")


@pytest.mark.parametrize("person", ["used_operator", "used_reader"])
def test_operators_and_readers_read_all_the_rest(person: str, used: Used) -> None:
    for schema, relation in used.relations("rpv"):
        if relation.startswith(("journal_", "claims_", "backup_")) or relation in (
            "quarantine",
            "left_alone",
            "reports",
        ):
            continue
        name = sql.Identifier(schema, relation)
        [(seen,)] = used.people[person].execute(sql.SQL("SELECT count(*) FROM {}").format(name))
        [(there,)] = used.superuser.execute(sql.SQL("SELECT count(*) FROM {}").format(name))
        assert seen == there, f"row security hides rows of {relation} instead of refusing"


PAST = ("UPDATE {} SET actor = 'nobody'", "DELETE FROM {}", "TRUNCATE {}")


@pytest.mark.parametrize("replication_role", ["origin", "local", "replica"])
@pytest.mark.parametrize("who", [*PEOPLE, "owner", "superuser", "superuser as owner"])
def test_nobody_changes_the_past(who: str, replication_role: str, used: Used) -> None:
    """Append-only under every role and in every replication mode that the role may take."""
    if who in PEOPLE:
        if replication_role != "origin":
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                used.people[who].execute(f"SET session_replication_role = {replication_role}")
            return
        connection = used.people[who]
    else:
        connection = used.owner if who == "owner" and replication_role == "origin" else used.superuser
    before = used.names("SELECT l::text FROM public.migration_audit_log l ORDER BY seq")
    with connection.transaction(force_rollback=True):
        if connection is used.superuser:
            connection.execute(f"SET LOCAL session_replication_role = {replication_role}")
            if who != "superuser":
                connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(OWNER)))
        for statement in PAST:
            with pytest.raises(psycopg.Error) as raised, connection.transaction():
                connection.execute(sql.SQL(statement).format(sql.Identifier("public", "migration_audit_log")))
            assert raised.value.sqlstate == ("42501" if who in PEOPLE else "TM005")
    assert used.names("SELECT l::text FROM public.migration_audit_log l ORDER BY seq") == before


def test_a_row_forged_in_replica_mode_is_found(used: Used) -> None:
    """There the seal is not put on by the database, so that replication can bring rows as they are."""
    with used.superuser.transaction(force_rollback=True):
        used.superuser.execute("SET LOCAL session_replication_role = replica")
        used.superuser.execute(
            "INSERT INTO public.migration_audit_log (seq, operation, actor, outcome, prev_hash, hash)"
            " SELECT max(seq) + 1, 'x', 'x', 'x', (array_agg(hash ORDER BY seq DESC))[1], repeat('f', 64)"
            " FROM public.migration_audit_log"
        )
        [(bad, entries)] = used.superuser.execute(
            "SELECT first_bad_seq, entries FROM tenant_migration.verify_audit_chain()"
        )
        assert bad == entries


def test_temporary_objects_capture_nothing(used: Used) -> None:
    """What runs with the owner's rights is called by somebody whose session is full of traps."""
    operator = used.people["used_operator"]
    for _, relation in used.relations("rpv"):
        operator.execute(
            sql.SQL("CREATE TEMP TABLE IF NOT EXISTS {} (seq bigint, hash text, captured text)").format(
                sql.Identifier(relation)
            )
        )
    operator.execute("SET search_path = pg_temp, public, tenant_migration")
    [(seq,)] = operator.execute("SELECT tenant_migration.append_audit('pause', 'Olga', 'succeeded')")
    assert used.names("SELECT actor FROM public.migration_audit_log ORDER BY seq DESC LIMIT 1") == ["Olga"]
    [(bad, entries)] = operator.execute(
        "SELECT first_bad_seq, entries FROM tenant_migration.verify_audit_chain()"
    )
    assert (bad, entries) == (None, seq)
    operator.execute(
        "INSERT INTO public.tenant_org_mappings (tenant_id, organization_id)"
        " SELECT 'trapped', organization_id FROM public.tenant_org_mappings LIMIT 1"
    )
    assert used.names("SELECT tenant_id FROM tenant_migration.tenants WHERE tenant_id = 'trapped'")
    for _, relation in used.relations("rpv"):
        assert operator.execute(
            sql.SQL("SELECT * FROM pg_temp.{}").format(sql.Identifier(relation))
        ).fetchall() == []  # fmt: skip
    operator.execute("DISCARD TEMP")
    operator.execute("RESET search_path")


def test_an_application_s_session_full_of_traps_claims_where_it_should(used: Used) -> None:
    """The claim trigger writes for a role that sees nothing of ours, wherever its session would lead it."""
    application = used.people["used_app"]
    claims = [name for _, name in used.relations("rp") if name.startswith("claims_")]
    before = {name: _count(used, name) for name in claims}
    for _, relation in used.relations("rp"):
        application.execute(sql.SQL("CREATE TEMP TABLE {} (captured text)").format(sql.Identifier(relation)))
    application.execute("SET search_path = pg_temp, public")
    application.execute("UPDATE public.members SET organization_id = NULL WHERE tenant_id = 'acme'")
    assert sum(_count(used, name) for name in claims) > sum(before.values())
    application.execute("DISCARD TEMP")
    application.execute("RESET search_path")


def _count(used: Used, relation: str) -> int:
    [(count,)] = used.superuser.execute(
        sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier("tenant_migration", relation))
    )
    return int(count)
