"""Each check of the registry, kept from running in four ways: errored, critical, never a pass.

A right that was revoked, a column or table that is gone, too little time, too little room for temporary
files. What the command line makes of such a report is in the tests of `validate` and `verify`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import psycopg
import pytest
from psycopg import sql

from tenant_migration.database.connection import connect
from tenant_migration.integrity import planner, runner
from tenant_migration.integrity.check import Check
from tenant_migration.integrity.model import CheckResult, Outcome, Phase
from tenant_migration.integrity.questions import Question
from tenant_migration.integrity.registry import CHECKS
from tenant_migration.integrity.report import build_report
from tenant_migration_tests.integrity.world import LINE_ITEMS, World
from tenant_migration_tests.servers import Server
from tenant_migration_tests.versions import newest_server_only

_WRAPPED = "SELECT answers.* FROM ({}) AS answers CROSS JOIN ({}) AS more"
_SLOW = "SELECT pg_sleep(60)"
_LARGE = "SELECT count(*) FROM (SELECT i FROM generate_series(1, 50000) AS i ORDER BY i DESC OFFSET 0) AS s"


@dataclass(frozen=True)
class Break:
    """What keeps a check from running: something that it reads, of which the right or the name is taken."""

    table: str | None
    """Whose result; None: of the database."""
    relation: str
    """What it reads, as SQL."""
    column: str | None
    """None: it looks at the relation's place in the catalog alone."""
    schema: str | None = None
    """Without a right on which the relation cannot be found; None: the right on the relation itself."""
    function: str | None = None
    """By which it is read; then that is what is renamed."""

    @property
    def right(self) -> str:
        return f"SELECT ON {self.relation}" if self.schema is None else f"USAGE ON SCHEMA {self.schema}"

    @property
    def sqlstate_of_gone(self) -> str:
        if self.function is not None:
            return "42883"
        return "42P01" if self.column is None else "42703"

    @property
    def holders(self) -> str:
        return "PUBLIC, app_owner" if self.schema == "public" else "app_owner"

    @property
    def rename(self) -> tuple[str, str]:
        """To something else, and back."""
        if self.function is not None:
            schema, _, name = self.function.rpartition(".")
            return (
                f"ALTER FUNCTION {self.function} RENAME TO gone",
                f"ALTER FUNCTION {schema}.gone RENAME TO {name}",
            )
        if self.column is not None:
            alter = f"ALTER TABLE {self.relation} RENAME"
            return f"{alter} {self.column} TO gone", f"{alter} gone TO {self.column}"
        schema, _, name = self.relation.rpartition(".")
        return f"ALTER TABLE {self.relation} RENAME TO gone", f"ALTER TABLE {schema}.gone RENAME TO {name}"


def _of_rows(table: str = "claims", column: str = "tenant_id") -> Break:
    return Break(f"public.{table}", table, column)


def _of_database(relation: str, column: str) -> Break:
    return Break(None, relation, column)


_OF_STRUCTURE = Break(LINE_ITEMS, 'app."Line%Items"', None, schema="app")
_OF_PAIRS = _of_database("tenant_migration.table_states", "state")

BREAKS: dict[str, Break] = {
    "row_security_of_organizations": Break(None, "public.organizations", None, schema="public"),
    "organizations_active": _of_database("organizations", "is_active"),
    "duplicate_mappings": _of_database("tenant_org_mappings", "tenant_id"),
    "similar_mappings": _of_database("tenant_org_mappings", "tenant_id"),
    "tenants_share_organization": _of_database("tenant_org_mappings", "organization_id"),
    "duplicate_slugs": _of_database("organizations", "slug"),
    "circular_organizations": _of_database("organizations", "parent_id"),
    "organization_parents": _of_database("organizations", "parent_id"),
    "audit_chain": Break(None, "migration_audit_log", None, function="tenant_migration.verify_audit_chain"),
    "failed_pairs": _OF_PAIRS,
    "pending_pairs": _OF_PAIRS,
    "unique_collisions": _of_rows("profiles"),
    "organization_collisions": _of_rows("archive"),
    "identical_rows": _of_rows("ledger", "entry"),
    "orphans_elsewhere": _of_rows("archive", "id"),
    "json_tenant_keys": _of_rows("ledger", "extra"),
    "row_security": _OF_STRUCTURE,
    "foreign_keys_valid": _OF_STRUCTURE,
    "triggers": _OF_STRUCTURE,
    "publications": _OF_STRUCTURE,
    "generated_columns": _OF_STRUCTURE,
    "indexes_valid": _OF_STRUCTURE,
    "foreign_keys_validated": _OF_STRUCTURE,
}
"""Where a check reads something else than the rows of the claims."""

BREAKS_BEFORE = {"organizations_exist": _of_database("tenant_org_mappings", "organization_id")}
"""Where it reads something else before than after."""


def _break(check: Check) -> Break:
    if check.phase == "pre-migration" and check.name in BREAKS_BEFORE:
        return BREAKS_BEFORE[check.name]
    return BREAKS.get(check.name) or _of_rows()


@pytest.fixture(scope="module")
def scenes(server: Server, template_before: str, template_after: str) -> Iterator[dict[Phase, World]]:
    """One database before and one after; each test leaves them as they were."""
    with _copy(server, template_before) as before, _copy(server, template_after) as after:
        before.let_two_tenants_share()
        yield {"pre-migration": before, "post-migration": after}


@contextmanager
def _copy(server: Server, template: str) -> Iterator[World]:
    name = server.create_database(template)
    with connect(server.url(name)) as connection:
        yield World(server.url(name), server.superuser_url(name), connection)
    server.drop_database(name)


@contextmanager
def _done(world: World, do: str, undo: str) -> Iterator[None]:
    with psycopg.connect(world.superuser_url, autocommit=True) as superuser:
        superuser.execute(do)
        try:
            yield
        finally:
            superuser.execute(undo)


@newest_server_only
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: f"{check.phase}-{check.name}")
class TestEachCheck:
    """The matrix."""

    def test_runs_in_these_scenes(self, scenes: dict[Phase, World], check: Check) -> None:
        results = scenes[check.phase].check(check.phase, only=[check.name])
        outcomes = {result.outcome for result in results if result.table == _break(check).table}
        expected = Outcome.FAILED if check.name == "tenants_share_organization" else Outcome.PASSED
        assert outcomes - {Outcome.SKIPPED} == {expected}

    def test_is_errored_without_a_right(self, scenes: dict[Phase, World], check: Check) -> None:
        world, broken = scenes[check.phase], _break(check)
        plan = world.plan
        revoke = f"REVOKE {broken.right} FROM {broken.holders}"
        with _done(world, revoke, f"GRANT {broken.right} TO {broken.holders}"):
            results = world.check(check.phase, only=[check.name], plan=plan)
        _assert_errored(results, broken, "42501")

    def test_is_errored_when_what_it_reads_is_gone(self, scenes: dict[Phase, World], check: Check) -> None:
        world, broken = scenes[check.phase], _break(check)
        plan = world.plan
        with _done(world, *broken.rename):
            results = world.check(check.phase, only=[check.name], plan=plan)
        _assert_errored(results, broken, broken.sqlstate_of_gone)

    def test_is_errored_without_time(
        self, scenes: dict[Phase, World], check: Check, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world = scenes[check.phase]
        _also_do(monkeypatch, _SLOW)
        config = world.with_validation(statement_timeout_ms=100)
        broken = _break(check)
        tables = [] if broken.table is None else [broken.table]
        results = world.check(check.phase, only=[check.name], config=config, tables=tables)
        _assert_errored(results, broken, "57014")

    def test_is_errored_without_room_for_temporary_files(
        self, scenes: dict[Phase, World], check: Check, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world = scenes[check.phase]
        _also_do(monkeypatch, _LARGE)
        monkeypatch.setitem(planner._ALWAYS, "work_mem", "64kB")
        database = world.connection.info.dbname
        limited = f'ALTER ROLE app_owner IN DATABASE "{database}" {{}} temp_file_limit'
        with (
            _done(world, limited.format("SET") + " = '64kB'", limited.format("RESET")),
            connect(world.url) as connection,
        ):
            results = replace(world, connection=connection).check(check.phase, only=[check.name])
        _assert_errored(results, _break(check), "53400")


def test_the_breaks_are_of_checks_that_exist() -> None:
    assert {*BREAKS, *BREAKS_BEFORE} <= {check.name for check in CHECKS}


def _also_do(monkeypatch: pytest.MonkeyPatch, more: str) -> None:
    """Have every statement of a check do something more, of which there will be too much."""
    statement = runner._statement

    def and_more(questions: list[Question]) -> sql.Composed:
        return sql.SQL(_WRAPPED).format(statement(questions), sql.SQL(more))

    monkeypatch.setattr(runner, "_statement", and_more)


def _assert_errored(results: list[CheckResult], broken: Break, sqlstate: str) -> None:
    of_table = [
        result for result in results if result.table == broken.table and result.outcome is not Outcome.SKIPPED
    ]
    assert of_table
    for result in of_table:
        assert (result.outcome, result.sqlstate, result.count) == (Outcome.ERRORED, sqlstate, 0)
        assert result.reason
        assert result.blocks
        report = build_report([result], result.phase)
        assert (report["status"], report["criticalIssues"]) == ("fail", 1)
        assert "could not run" in report["issues"][0]["description"]
