"""`mappings`: import, export, list, suggest."""

from __future__ import annotations

from pathlib import Path

import psycopg

from tenant_migration.quickstart.sample import UNMAPPED_TENANT, SampleSummary
from tenant_migration_tests.cli.runner import CommandLine


def stored(connection: psycopg.Connection) -> dict[str, str]:
    return dict(
        connection.execute("SELECT tenant_id, organization_id::text FROM tenant_org_mappings").fetchall()
    )


def test_a_file_is_imported_and_exported_equal(
    mapped: CommandLine, connection: psycopg.Connection, summary: SampleSummary, tmp_path: Path
) -> None:
    expected = {tenant: str(organization) for tenant, organization in summary.mappings}
    assert stored(connection) == expected
    result = mapped("mappings", "--export", str(tmp_path / "exported.csv"))
    assert (result.exit_code, result.stdout) == (
        0,
        f"{len(expected)} mappings written to {tmp_path / 'exported.csv'}.\n",
    )
    connection.execute("DELETE FROM tenant_org_mappings")
    result = mapped("mappings", "--import", str(tmp_path / "exported.csv"))
    assert result.stdout.endswith(f"{len(expected)} new, 0 changed, 0 as they were.\n")
    assert stored(connection) == expected


def test_a_bad_file_is_refused_whole_with_every_line(
    mapped: CommandLine, connection: psycopg.Connection, tmp_path: Path
) -> None:
    before = stored(connection)
    bad = tmp_path / "bad.csv"
    bad.write_text(
        "tenant_id,organization_id\n"
        "'; DROP TABLE claims; --,99999999-0000-0000-0000-000000000000\n"
        "o'brien,not-a-uuid\n"
    )
    result = mapped("mappings", "--import", str(bad))
    assert result.exit_code == 1
    assert result.error.splitlines() == [
        f"{bad}: 2 lines are bad, nothing was written:",
        '  line 2: organization 99999999-0000-0000-0000-000000000000 of tenant "\'; DROP TABLE claims; --" '
        "does not exist in public.organizations",
        "  line 3: organization_id 'not-a-uuid' of tenant \"o'brien\" is not a uuid",
    ]
    assert stored(connection) == before


def test_the_list_can_be_limited_to_a_status(mapped: CommandLine, summary: SampleSummary) -> None:
    every = mapped("mappings", "--list")
    assert every.exit_code == 0
    assert all(tenant in every.stdout for tenant, _ in summary.mappings)
    assert mapped("mappings", "--list", "pending").stdout.endswith(
        f"{len(summary.mappings)} mappings in status pending.\n"
    )
    assert mapped("mappings", "--list", "failed").stdout == "0 mappings in status failed.\n"


def test_an_id_that_a_terminal_would_obey_is_shown_escaped(
    installed: CommandLine, connection: psycopg.Connection
) -> None:
    connection.execute(
        "INSERT INTO tenant_org_mappings (tenant_id, organization_id)"
        " SELECT E'\\x1b[2Jevil\\n', id FROM organizations LIMIT 1"
    )
    result = installed("mappings", "--list")
    assert "\x1b" not in result.stdout
    assert r"'\x1b[2Jevil\n'" in result.stdout


def test_suggestions_name_tenants_without_a_mapping_and_write_nothing(
    installed: CommandLine, connection: psycopg.Connection, summary: SampleSummary, tmp_path: Path
) -> None:
    result = installed("mappings", "--suggest", "--export", str(tmp_path / "proposals.csv"))
    assert result.exit_code == 0, result.stderr
    assert UNMAPPED_TENANT in result.stdout
    assert "Nothing was written to the database." in result.stdout
    assert stored(connection) == {}
    imported = installed("mappings", "--import", str(tmp_path / "proposals.csv"))
    assert imported.exit_code == 0
    proposed = stored(connection)
    assert proposed
    assert proposed.items() <= {tenant: str(value) for tenant, value in summary.mappings}.items()
    again = installed("mappings", "--suggest")
    assert not set(proposed) & set(again.stdout.split())


def test_with_everything_mapped_there_is_nothing_to_suggest(
    mapped: CommandLine, connection: psycopg.Connection
) -> None:
    connection.execute(
        "INSERT INTO tenant_org_mappings (tenant_id, organization_id)"
        " SELECT %s, id FROM organizations LIMIT 1",
        [UNMAPPED_TENANT],
    )
    result = mapped("mappings", "--suggest")
    assert result.exit_code == 0
    assert result.stdout == "Every tenant of the managed tables has a mapping, or is allowed to have none.\n"
