"""Nothing that somebody planted in the application's schema is called by us.

Whoever may create objects in `public` can plant functions and operators there that fit our calls better than
the server's own. All that the tool does is done once in a database that is full of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tenant_migration.config import MigrationConfig
from tenant_migration.database.connection import connect
from tenant_migration.database.install import install
from tenant_migration.mapping.csv_import import import_mappings
from tenant_migration.mapping.mapper import TenantOrgMapper
from tenant_migration.planning.builder import build_plan
from tenant_migration.planning.storage import store_plan
from tenant_migration.workflow.audit_log import Filter, read_entries, verify_log
from tenant_migration.workflow.backup import cleanup_backups, list_backups, take_backup
from tenant_migration.workflow.cancel import cancel
from tenant_migration.workflow.emergency import emergency_rollback
from tenant_migration.workflow.migrate import migrate
from tenant_migration.workflow.resume import resume
from tenant_migration.workflow.rollback import rollback
from tenant_migration.workflow.status import read_status
from tenant_migration.workflow.validate import validate, verify
from tenant_migration_tests.servers import Server
from tenant_migration_tests.workflow.conftest import TENANTS, fill_application

_TYPES = "{text,varchar,bpchar,name,oid,int2,int4,int8,numeric,uuid,regclass,timestamptz,bool}"

_PLANT = """
CREATE TABLE planted (signature text);
DO $$
DECLARE
    o record; a text; b text; f record; number int := 0;
BEGIN
    CREATE FUNCTION public.captured(what text) RETURNS void LANGUAGE plpgsql AS
        'BEGIN RAISE EXCEPTION ''captured by %%'', what USING ERRCODE = ''TMBAD''; END';
    -- Operators for every pair of types that has none of its own.
    FOR o IN SELECT unnest('{=,<>,<,>,<=,>=}'::text[]) AS name LOOP
        FOREACH a IN ARRAY %(types)s::text[] LOOP FOREACH b IN ARRAY %(types)s::text[] LOOP
            CONTINUE WHEN EXISTS (SELECT FROM pg_operator WHERE oprname = o.name AND oprleft = a::regtype
                                  AND oprright = b::regtype);
            number := number + 1;
            EXECUTE format('CREATE FUNCTION public.operator_%%s(%%s, %%s) RETURNS boolean'
                           ' LANGUAGE plpgsql AS %%L', number, a, b,
                           format('BEGIN PERFORM public.captured(%%L); RETURN true; END', a || o.name || b));
            EXECUTE format('CREATE OPERATOR public.%%s (FUNCTION = public.operator_%%s, LEFTARG = %%s,'
                           ' RIGHTARG = %%s)', o.name, number, a, b);
            INSERT INTO public.planted VALUES (a || o.name || b);
        END LOOP; END LOOP;
    END LOOP;
    -- Functions of one argument, for the names that SQL is full of and types they are not there for.
    FOR f IN SELECT DISTINCT proname::text AS name FROM pg_proc
             WHERE pronamespace = 'pg_catalog'::regnamespace AND pronargs = 1 AND prokind = 'f'
               AND proname = ANY ('{lower,upper,length,btrim,quote_ident,quote_literal,encode,abs,
                   array_length,cardinality,unnest,to_regclass,hashtext,pg_relation_size,pg_total_relation_size,
                   pg_table_size,obj_description,now,date_trunc,floor,ceil,round,char_length,octet_length,
                   to_json,to_jsonb,jsonb_typeof,jsonb_array_elements_text,current_setting,txid_status,
                   pg_get_expr,pg_get_constraintdef,pg_get_indexdef,pg_get_triggerdef,pg_get_functiondef,
                   format_type,pg_get_userbyid,md5,sha256,pg_xact_status}'::text[]) LOOP
        FOREACH a IN ARRAY %(types)s::text[] LOOP
            CONTINUE WHEN EXISTS (SELECT FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace
                                  AND proname = f.name AND pronargs = 1 AND proargtypes[0] = a::regtype);
            EXECUTE format('CREATE FUNCTION public.%%I(%%s) RETURNS text LANGUAGE plpgsql AS %%L', f.name, a,
                           format('BEGIN PERFORM public.captured(%%L); RETURN $1::text; END',
                                  f.name || '(' || a || ')'));
            INSERT INTO public.planted VALUES (f.name || '(' || a || ')');
        END LOOP;
    END LOOP;
END $$
"""


@pytest.fixture
def planted(server: Server, database: str) -> Iterator[psycopg.Connection]:
    """The application, before the installation, with the plants of somebody else in its schema."""
    with psycopg.connect(database, autocommit=True) as setup:
        fill_application(setup)
        setup.execute("ALTER TABLE notes ALTER tenant_id TYPE varchar(40)")  # it has no operators of its own
        psycopg.ClientCursor(setup).execute(_PLANT, {"types": _TYPES})
    with connect(database, pin_path=True) as connection:
        yield connection


def test_the_plants_work(planted: psycopg.Connection, database: str) -> None:
    """What the test below does not call can be called."""
    with psycopg.connect(database, autocommit=True) as somebody:
        [(count,)] = somebody.execute("SELECT pg_catalog.count(*) FROM public.planted")
        assert count > 500
        with pytest.raises(psycopg.DatabaseError, match="captured by varchar=name"):
            somebody.execute("SELECT 'a'::varchar = 'a'::name")
        with pytest.raises(psycopg.DatabaseError, match=r"captured by lower\(varchar\)"):
            somebody.execute("SELECT lower('A'::varchar)")


def test_nothing_planted_is_called(planted: psycopg.Connection, tmp_path: Path) -> None:
    config = MigrationConfig.model_validate({"defaults": {"fingerprints": "journal"}})
    install(planted, config, actor="test")
    install(planted, config, actor="test")
    file = tmp_path / "mappings.csv"
    organizations = [row[0] for row in planted.execute("SELECT id FROM public.organizations ORDER BY id")]
    lines = [
        f'"{tenant}",{organization}\n' for tenant, organization in zip(TENANTS, organizations, strict=True)
    ]
    file.write_text("tenant_id,organization_id\n" + "".join(lines))
    import_mappings(planted, config, file, "test")
    plan = build_plan(planted, config)
    store_plan(planted, plan, "test")
    assert validate(planted, config, plan, actor="test")["status"] != "fail"
    take_backup(planted, config, plan, actor="test")
    take_backup(planted, config, plan, actor="test", tenants=["acme"])
    outcomes = migrate(planted, config, plan, actor="test", tenants=["acme"])
    outcomes += migrate(planted, config, plan, actor="test")
    assert {outcome.state for outcome in outcomes} == {"completed"}, outcomes
    planted.execute("UPDATE public.claims SET organization_id = NULL WHERE id OPERATOR(pg_catalog.=) 1")
    planted.execute("DELETE FROM public.notes WHERE id OPERATOR(pg_catalog.=) 2")
    verify(planted, config, plan, actor="test")
    assert read_status(planted, config, detailed=True).tables
    assert TenantOrgMapper(connection=planted, config=config).organization_id("acme") == organizations[0]
    taken = rollback(planted, config, plan, actor="test", tenants=["acme"], verify=True)
    assert {outcome.state for outcome in taken} == {"rolled_back"}, taken
    assert not emergency_rollback(planted, config, actor="test").left
    resume(planted, actor="test")
    cancel(planted, actor="test")
    list_backups(planted, config)
    cleanup_backups(planted, config, actor="test", days=0)
    assert not verify_log(planted).problems
    entries, _ = read_entries(planted, Filter(operations=("migrate",), tenants=("acme",), tables=("claims",)))
    assert not [entry for entry in entries if "captured" in str(entry.detail)]
    for function in ("get_migration_progress", "validate_migration_readiness"):
        planted.execute(f"SELECT * FROM public.{function}()")
