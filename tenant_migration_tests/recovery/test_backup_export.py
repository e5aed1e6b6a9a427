"""An exported backup is whole, private, checked by its manifest, and can be loaded again."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tenant_migration.errors import OperationFailed
from tenant_migration.recovery.backups.export import export_backup, folder_name
from tenant_migration.workflow.backup import cleanup_backups, list_backups
from tenant_migration_tests.backfill.conftest import ACTOR, World
from tenant_migration_tests.recovery.backup_scene import TABLE, audit_of, back_up, rows_now

Claims = Callable[[int], World]


def only_folder(directory: Path) -> Path:
    [folder] = directory.iterdir()
    return folder


@pytest.mark.parametrize("tenants", [None, ["O'Brien Local", "café 東京"]], ids=["whole", "tenants"])
def test_the_files_load_again_to_the_bit(claims: Claims, tmp_path: Path, tenants: list[str] | None) -> None:
    world = claims(500)
    world.sql('ALTER TABLE public.claims ADD COLUMN "odd %s" numeric DEFAULT 1.50')
    world.sql("ALTER TABLE public.claims ADD COLUMN raw json DEFAULT '{}'")
    backup = back_up(world, tenants=tenants, directory=tmp_path / "new" / "folder")
    folder = only_folder(tmp_path / "new" / "folder")
    assert backup.directory == str(folder)
    assert list_backups(world.connection)[0].directory == str(folder)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["backup"] == backup.backup_id
    assert manifest["tenants"] == tenants
    assert manifest["lsn"] == backup.lsn
    [part] = manifest["tables"]
    data = (folder / part["file"]).read_bytes()
    assert part["sha256"] == hashlib.sha256(data).hexdigest()
    assert part["bytes"] == len(data)
    assert part["rows"] == backup.rows
    assert part["checksum"] == backup.tables[0].checksum
    assert sorted(path.name for path in folder.iterdir()) == sorted(["manifest.json", part["file"]])

    columns = ", ".join(f'"{column["name"]}" {column["type"]}' for column in part["columns"])
    world.connection.execute(f"CREATE TABLE public.loaded ({columns})")
    with world.connection.cursor().copy("COPY public.loaded FROM STDIN (FORMAT binary)") as copy:
        copy.write(data)
    where = "true" if tenants is None else "tenant_id IN ('O''Brien Local', 'café 東京')"
    assert rows_now(world, "public.loaded") == rows_now(world, TABLE, where)


def test_nobody_else_may_read_the_files(claims: Claims, tmp_path: Path) -> None:
    world = claims(70)
    back_up(world, directory=tmp_path)
    folder = only_folder(tmp_path)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_the_configured_directory_is_used_when_none_is_given(claims: Claims, tmp_path: Path) -> None:
    world = claims(70)
    world.settings = {"backups": {"directory": str(tmp_path)}}
    assert back_up(world).directory == str(only_folder(tmp_path))


def test_an_export_that_fails_leaves_the_backup_and_nothing_half(claims: Claims, tmp_path: Path) -> None:
    world = claims(70)
    backup = back_up(world)
    folder = tmp_path / folder_name(backup, world.connection.info.dbname)
    folder.mkdir()
    (folder / "somebody's").write_text("file")
    with pytest.raises(OperationFailed, match="complete in the database, but could not be exported"):
        export_backup(world.connection, backup, world.connection.info.dbname, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    assert [path.name for path in folder.iterdir()] == ["somebody's"]
    assert list_backups(world.connection)[0].verified


def test_a_backup_whose_export_fails_is_recorded_as_failed_and_stays(
    claims: Claims, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = claims(70)

    def no_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", no_disk)
    with pytest.raises(OperationFailed, match=r"backup 1 is complete.*No space left on device"):
        back_up(world, directory=tmp_path)
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []
    [backup] = list_backups(world.connection)
    assert backup.verified
    assert backup.directory is None
    [(outcome, _, detail)] = audit_of(world.connection, "backup")
    assert outcome == "failed"
    assert "No space left" in detail["error"]


def test_an_export_under_way_is_left_alone_and_a_dead_one_removed(claims: Claims, tmp_path: Path) -> None:
    world = claims(70)
    alive, dead = tmp_path / ".unfinished-backup_a", tmp_path / ".unfinished-backup_b"
    for folder in (alive, dead):
        folder.mkdir()
        (folder / "table_1.copy").write_bytes(b"rows")
    descriptor = os.open(alive, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    world.settings = {"backups": {"directory": str(tmp_path)}}
    cleanup_backups(world.connection, world.config, actor=ACTOR)
    assert list(tmp_path.iterdir()) == [alive]
    os.close(descriptor)
    back_up(world)
    assert not alive.exists()
