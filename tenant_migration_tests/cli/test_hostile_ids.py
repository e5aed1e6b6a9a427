"""Tenant ids that look like SQL, markup, formats or each other: each goes to its own organization.

One database has all of them at once and goes through every command, once.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from tenant_migration.mapping.csv_format import render_mappings
from tenant_migration.orchestration.partition_keys import partition_key, tenant_id
from tenant_migration_tests.cli.conftest import Templates
from tenant_migration_tests.cli.runner import CommandLine, Result
from tenant_migration_tests.servers import Server
from tenant_migration_tests.versions import newest_server_only

HOSTILE = {
    "injection": "'; DROP TABLE claims; --",
    "double_quote": '"',
    "format": "%s %(name)s {0} {tenant}",
    "dollars": "$$ $1 $body$",
    "right_to_left": "abc\u202egpj.exe",
    "composed": "Caf\u00e9",
    "decomposed": "Cafe\u0301",
    "lower": "acme",
    "upper": "ACME",
    "blank_before": " acme",
    "blank_after": "acme ",
    "no_break_space": "ac\u00a0me",
    "emoji": "\U0001f4a5\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "markup": "<script>alert(1)</script><img src=x onerror=alert(2)>",
    "markdown": "a|b [x](javascript:alert(1)) `c` *d*",
    "spreadsheet": '=HYPERLINK("http://example.com";"x")',
    "array": "{a,b,NULL}",
    "null_word": "NULL",
    "backslashes": "\\x00 \\n C:\\temp\\",
    "lines": "one\ntwo\r\nthree\ttab",
    "escape_sequence": "\x1b[2J\x07",
    "path": "../../etc/passwd",
    "partition_syntax": "a...b,c*[d]",
    "percent": "100%25",
    "long": "x" * 1999 + "y",
    "twin_1": "t" * 63 + "1",
    "twin_2": "t" * 63 + "2",
}
ROWS_EACH = 3


def organization_of(name: str) -> UUID:
    return UUID(int=1 + list(HOSTILE).index(name))


@dataclass
class World:
    """The database, the folder with the reports, and what each call gave."""

    url: str
    folder: Path
    run: CommandLine
    results: dict[str, Result] = field(default_factory=dict)
    after_migrate: dict[str, set[UUID | None]] = field(default_factory=dict)

    def organizations(self) -> dict[str, set[UUID | None]]:
        """Tenant -> every organization that its rows have."""
        found: dict[str, set[UUID | None]] = {}
        with psycopg.connect(self.url, autocommit=True) as connection:
            for tenant, organization in connection.execute("SELECT tenant_id, organization_id FROM claims"):
                found.setdefault(tenant, set()).add(organization)
        return found


@pytest.fixture(scope="module")
def world(server: Server, templates: Templates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("hostile")
    name = server.create_database()
    url = server.url(name)
    with psycopg.connect(url, autocommit=True) as setup:
        setup.execute(
            "CREATE TABLE organizations (id uuid PRIMARY KEY, parent_id uuid, slug text, name text)"
        )
        setup.execute("CREATE TABLE claims (id serial PRIMARY KEY, tenant_id text)")
        for key, tenant in HOSTILE.items():
            setup.execute("INSERT INTO organizations (id, slug) VALUES (%s, %s)", [organization_of(key), key])
            setup.execute(
                "INSERT INTO claims (tenant_id) SELECT %s FROM generate_series(1, %s)", [tenant, ROWS_EACH]
            )
    (folder / "mappings.csv").write_text(
        render_mappings((tenant, organization_of(key)) for key, tenant in HOSTILE.items()),
        encoding="utf-8",
        newline="",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("TENANT_MIGRATION_CONFIG", raising=False)
        run = CommandLine(
            {
                "TENANT_MIGRATION_DATABASE_URL": url,
                "TENANT_MIGRATION_DAGSTER_URL": templates.storage_url(),
                "TENANT_MIGRATION_ACTOR": "tester",
                "DAGSTER_HOME": str(folder / "dagster"),
            }
        )
        world = World(url, folder, run)
        each = [argument for tenant in HOSTILE.values() for argument in ("--tenant", tenant)]
        for step, arguments in {
            "install": ["install"],
            "import": ["mappings", "--import", "mappings.csv"],
            "export": ["mappings", "--export", "exported.csv"],
            "list": ["mappings", "--list"],
            "plan": ["plan", "--write"],
            "validate": ["validate", "--export", "before.html"],
            "backup": ["backup", "--create", *each],
            "dry_run": ["migrate", "--dry-run", *each],
            "migrate": ["migrate", *each],
            "verify_html": ["verify", "--export", "after.html"],
            "verify_csv": ["verify", "--export", "after.csv"],
            "verify_json": ["verify", "--export", "after.json"],
            "status": ["status", "--detailed", "--json"],
            "rollback": ["rollback", "--yes", "--tenant", HOSTILE["injection"]],
            "rollback_others": ["rollback", "--yes", "--verify", *each],
            "audit": ["audit", "--limit", "0"],
            "audit_verify": ["audit", "--verify"],
        }.items():
            world.results[step] = run(*arguments)
            if step == "migrate":
                world.after_migrate = world.organizations()
        yield world
    server.drop_database(name)


@newest_server_only
def test_every_command_ends_well(world: World) -> None:
    assert {step: result.stderr for step, result in world.results.items() if result.exit_code} == {}


@newest_server_only
@pytest.mark.parametrize("key", HOSTILE)
def test_each_goes_to_its_own_organization_and_back(key: str, world: World) -> None:
    tenant = HOSTILE[key]
    assert world.after_migrate[tenant] == {organization_of(key)}
    assert world.organizations()[tenant] == {None}


@newest_server_only
@pytest.mark.parametrize("key", HOSTILE)
def test_each_is_found_in_the_audit_log(key: str, world: World) -> None:
    found = json.loads(world.run("audit", "--json", "--tenant", HOSTILE[key]).stdout)
    assert {"backup", "migrate", "rollback"} <= {entry["operation"] for entry in found}
    lonely = [entry for entry in found if entry["tenant_id"] is not None]
    assert bool(lonely) == (key == "injection"), "what is about another tenant is not here"


@newest_server_only
@pytest.mark.parametrize("key", HOSTILE)
def test_each_has_a_partition_key_of_its_own(key: str, world: World) -> None:
    tenant = HOSTILE[key]
    assert tenant_id(partition_key(tenant)) == tenant
    others = {partition_key(other) for name, other in HOSTILE.items() if name != key}
    assert partition_key(tenant) not in others


@newest_server_only
def test_the_exported_mappings_are_the_imported_ones(world: World) -> None:
    with (world.folder / "exported.csv").open(encoding="utf-8", newline="") as file:
        rows = {tenant: UUID(organization) for tenant, organization in list(csv.reader(file))[1:]}
    assert rows == {tenant: organization_of(key) for key, tenant in HOSTILE.items()}


@newest_server_only
@pytest.mark.parametrize("file", ["before.html", "after.html"])
def test_a_page_holds_no_markup_of_theirs(file: str, world: World) -> None:
    page = (world.folder / file).read_text(encoding="utf-8")
    for active in ("<script>alert", "<img src=x", "\u202e", "\x1b"):
        assert active not in page
    assert "alert(1)" in page, "the tenant is shown, as text"


@newest_server_only
def test_no_cell_of_a_spreadsheet_is_a_formula(world: World) -> None:
    with (world.folder / "after.csv").open(encoding="utf-8", newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert not [cell for cell in cells if cell[:1] in ("=", "+", "@", "\t", "\r")]


@newest_server_only
def test_a_report_as_json_is_whole(world: World) -> None:
    report = json.loads((world.folder / "after.json").read_text(encoding="utf-8"))
    assert report["status"] != "fail"
    assert report["auditAnchor"]["entries"] > 0


@newest_server_only
@pytest.mark.parametrize("step", ["list", "plan", "validate", "migrate", "rollback_others", "audit"])
def test_a_terminal_is_told_nothing(step: str, world: World) -> None:
    result = world.results[step]
    for obeyed in ("\x1b", "\x07", "\u202e"):
        assert obeyed not in result.stdout + result.stderr


@newest_server_only
@pytest.mark.parametrize(
    ("tenant", "says"),
    [("nul\0byte", "NUL character"), ("".join(chr(0x4E00 + n) for n in range(3_000)), "9,000 bytes")],
    ids=["nul", "nine_thousand_bytes"],
)
def test_what_postgresql_cannot_hold_is_refused_by_name(tenant: str, says: str, world: World) -> None:
    file = world.folder / "refused.csv"
    file.write_text(f"tenant_id,organization_id\n{tenant},{organization_of('lower')}\n", encoding="utf-8")
    result = world.run("mappings", "--import", str(file))
    assert result.exit_code == 1
    assert says in result.error
    if "\0" not in tenant:
        assert world.run("migrate", "--tenant", tenant).exit_code == 1
