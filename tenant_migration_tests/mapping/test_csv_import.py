"""Importing a file into a real database: everything, or nothing and every reason."""

from __future__ import annotations

import threading
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from tenant_migration.config import MigrationConfig
from tenant_migration.database.connection import connect
from tenant_migration.errors import MappingImportError, UsageError
from tenant_migration.mapping.csv_export import export_mappings
from tenant_migration.mapping.csv_import import ImportResult, import_mappings
from tenant_migration.mapping.repository import list_mappings, read_generation
from tenant_migration_tests.mapping.organizations import map_tenants, mark_rows_migrated, organization

ONE, TWO, THREE = (str(organization(n)) for n in (1, 2, 3))


def write(folder: Path, *lines: str) -> Path:
    path = folder / "mappings.csv"
    path.write_text("\n".join(["tenant_id,organization_id", *lines, ""]), encoding="utf-8")
    return path


def mapped(connection: psycopg.Connection, config: MigrationConfig) -> dict[str, UUID]:
    return {mapping.tenant_id: mapping.organization_id for mapping in list_mappings(connection, config)}


def audit_rows(connection: psycopg.Connection) -> list[tuple[str, str, str, dict[str, int]]]:
    return connection.execute(
        "SELECT operation, actor, outcome, counts FROM public.migration_audit_log ORDER BY seq"
    ).fetchall()


def test_new_changed_and_unchanged_mappings_are_told_apart(
    installed: psycopg.Connection, config: MigrationConfig, tmp_path: Path
) -> None:
    map_tenants(installed, {"stays": 1, "changes": 1, "other": 3})
    path = write(tmp_path, f"stays,{ONE}", f"changes,{TWO}", f"new,{THREE}")
    assert import_mappings(installed, config, path, "alice") == ImportResult(
        created=1, changed=1, unchanged=1
    )
    assert mapped(installed, config) == {
        "stays": organization(1),
        "changes": organization(2),
        "new": organization(3),
        "other": organization(3),
    }
    assert import_mappings(installed, config, path, "alice") == ImportResult(0, 0, 3)


def test_an_import_raises_the_generation_and_numbers_new_tenants(
    installed: psycopg.Connection, config: MigrationConfig, tmp_path: Path
) -> None:
    before = read_generation(installed)
    import_mappings(installed, config, write(tmp_path, f"new,{ONE}"), "alice")
    assert read_generation(installed) > before
    assert installed.execute("SELECT tenant_id FROM tenant_migration.tenants").fetchall() == [("new",)]


def test_an_import_is_in_the_audit_log_also_when_it_failed(
    installed: psycopg.Connection, config: MigrationConfig, tmp_path: Path
) -> None:
    import_mappings(installed, config, write(tmp_path, f"new,{ONE}"), "alice")
    with pytest.raises(MappingImportError):
        import_mappings(installed, config, write(tmp_path, "new,x", f",{ONE}"), "bob")
    assert audit_rows(installed)[-2:] == [
        ("import mappings", "alice", "completed", {"created": 1, "changed": 0, "unchanged": 0}),
        ("import mappings", "bob", "failed", {"bad_lines": 2}),
    ]


def test_one_bad_line_of_any_kind_and_nothing_is_written(
    installed: psycopg.Connection, config: MigrationConfig, tmp_path: Path
) -> None:
    map_tenants(installed, {"migrated": 1, "running": 1, "free": 1})
    mark_rows_migrated(installed, "migrated", 12_345)
    mark_rows_migrated(installed, "running", 0, state="running")
    before = mapped(installed, config)
    path = write(
        tmp_path,
        f"good,{ONE}",  # 2
        "three,columns,here",  # 3
        f",{ONE}",  # 4
        f"good,{TWO}",  # 5
        "wrong,not-a-uuid",  # 6
        "nowhere,99999999-0000-0000-0000-000000000000",  # 7
        f"migrated,{TWO}",  # 8
        f"running,{TWO}",  # 9
        f"free,{TWO}",  # 10
        f"nul\0,{TWO}",  # 11
    )
    with pytest.raises(MappingImportError) as raised:
        import_mappings(installed, config, path, "alice")
    assert str(raised.value).splitlines() == [
        f"{path}: 8 lines are bad, nothing was written:",
        "  line 3: 2 columns expected, found 3",
        "  line 4: tenant_id is empty",
        "  line 5: tenant 'good' is on line 2 already",
        "  line 6: organization_id 'not-a-uuid' of tenant 'wrong' is not a uuid",
        "  line 7: organization 99999999-0000-0000-0000-000000000000 of tenant 'nowhere' does not exist in "
        "public.organizations",
        f"  line 8: tenant 'migrated' is mapped to organization {ONE} and 12,345 of its rows carry it; "
        "roll it back first (`tenant-migration rollback --tenant`)",
        f"  line 9: tenant 'running' is mapped to organization {ONE} and is being migrated (running); "
        "roll it back first (`tenant-migration rollback --tenant`)",
        "  line 11: has a NUL character, which PostgreSQL cannot hold",
    ]
    assert mapped(installed, config) == before


def test_the_same_mapping_of_a_migrated_tenant_is_no_change(
    installed: psycopg.Connection, config: MigrationConfig, tmp_path: Path
) -> None:
    map_tenants(installed, {"migrated": 1})
    mark_rows_migrated(installed, "migrated", 7)
    result = import_mappings(installed, config, write(tmp_path, f"migrated,{ONE}", f"new,{TWO}"), "alice")
    assert result == ImportResult(created=1, changed=0, unchanged=1)


@pytest.mark.parametrize(
    "tenant",
    [
        "O'Brien, Local 12",
        'say "union"',
        " padded ",
        "'; DROP TABLE organizations; --",
        "%s {} \\",
        "50%",
        "Ünïon\t",
    ],
)
def test_ids_arrive_exactly_and_are_exported_equal(
    installed: psycopg.Connection, config: MigrationConfig, tmp_path: Path, tenant: str
) -> None:
    map_tenants(installed, {tenant: 1, "other\nline": 2, "carriage\rreturn": 3})
    path = tmp_path / "exported.csv"
    assert export_mappings(installed, config, path) == 3
    before = mapped(installed, config)
    installed.execute("DELETE FROM public.tenant_org_mappings")
    assert import_mappings(installed, config, path, "alice") == ImportResult(3, 0, 0)
    assert (
        mapped(installed, config)
        == before
        == {
            tenant: organization(1),
            "other\nline": organization(2),
            "carriage\rreturn": organization(3),
        }
    )


def test_an_export_can_be_limited_to_a_status(
    installed: psycopg.Connection, config: MigrationConfig, tmp_path: Path
) -> None:
    map_tenants(installed, {"a": 1, "b": 2})
    installed.execute(
        "UPDATE public.tenant_org_mappings SET migration_status = 'failed' WHERE tenant_id = 'b'"
    )
    path = tmp_path / "failed.csv"
    assert export_mappings(installed, config, path, "failed") == 1
    assert path.read_text() == f"tenant_id,organization_id\nb,{TWO}\n"


def test_a_file_that_cannot_be_read_or_written_is_the_input_s_fault(
    installed: psycopg.Connection, config: MigrationConfig, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"nosuch\.csv cannot be read: No such file"):
        import_mappings(installed, config, tmp_path / "nosuch.csv", "alice")
    with pytest.raises(UsageError, match="cannot be written"):
        export_mappings(installed, config, tmp_path / "nosuch" / "mappings.csv")


def test_an_organization_deleted_during_the_import_leaves_nothing_written(
    database: str, installed: psycopg.Connection, config: MigrationConfig, tmp_path: Path
) -> None:
    """The check has passed, then somebody deletes: the reference refuses, and with it the whole file."""
    outcome: list[BaseException] = []

    with connect(database) as deleter, connect(database) as importer:
        deleter.execute("BEGIN")
        deleter.execute("DELETE FROM public.organizations WHERE id = %s", [organization(3)])

        def run() -> None:
            try:
                import_mappings(importer, config, write(tmp_path, f"a,{ONE}", f"b,{THREE}"), "alice")
            except psycopg.Error as error:
                outcome.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        while thread.is_alive():
            [(waiting,)] = installed.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            if waiting:
                break
        deleter.execute("COMMIT")
        thread.join()
    assert [type(error) for error in outcome] == [psycopg.errors.ForeignKeyViolation]
    assert mapped(installed, config) == {}


def test_a_large_file_is_imported_in_one_go(
    installed: psycopg.Connection, config: MigrationConfig, tmp_path: Path
) -> None:
    lines = [f"tenant-{n},{organization(n % 9 + 1)}" for n in range(20_000)]
    assert import_mappings(installed, config, write(tmp_path, *lines), "alice").created == 20_000
    [(count,)] = installed.execute("SELECT count(*) FROM public.tenant_org_mappings")
    assert count == 20_000
