"""Where our files live: for root and for others, and with a long path."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tenant_migration.errors import ConfigurationError, Refused
from tenant_migration.quickstart import folders


@pytest.fixture
def as_ordinary_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "is_root", lambda: False)


@pytest.fixture
def as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "is_root", lambda: True)


def test_home_of_an_ordinary_user_is_below_his_own(monkeypatch, tmp_path, as_ordinary_user):
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert folders.dagster_home() == tmp_path / ".tenant_migration"
    assert folders.cluster_folder() == tmp_path / ".tenant_migration" / "postgresql"


def test_home_is_made_closed_to_others(monkeypatch, tmp_path, as_ordinary_user):
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "deep" / "home"))
    home = folders.ensure_dagster_home()
    assert home == tmp_path / "deep" / "home"
    assert home.stat().st_mode & 0o777 == 0o700


def test_home_that_is_there_keeps_its_mode(monkeypatch, tmp_path, as_ordinary_user):
    (tmp_path / "home").mkdir(mode=0o750)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    folders.ensure_dagster_home()
    assert (tmp_path / "home").stat().st_mode & 0o777 == 0o750


def test_home_that_cannot_be_made_is_refused_with_its_name(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(Refused, match="file/home cannot be made"):
        folders.ensure_dagster_home()


def test_relative_home_is_a_configuration_error(monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", "relative/home")
    with pytest.raises(ConfigurationError, match="absolute"):
        folders.dagster_home()


def test_root_has_a_home_that_others_can_walk_to(monkeypatch, as_root):
    if os.geteuid() != 0:
        monkeypatch.setattr(folders, "_PUBLIC_PARENTS", (Path("/tmp"),))
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    home = folders.dagster_home()
    assert folders.open_to_others(home.parent)
    assert folders.cluster_folder() == home / "postgresql"


def test_root_keeps_the_cluster_out_of_a_closed_home(monkeypatch, tmp_path, public_folder, as_root):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    monkeypatch.setattr(folders, "_PUBLIC_PARENTS", (public_folder,))
    monkeypatch.setenv("DAGSTER_HOME", str(closed / "home"))
    cluster = folders.cluster_folder()
    assert cluster.parent == public_folder / "tenant_migration"
    assert closed.stat().st_mode & 0o777 == 0o700
    monkeypatch.setenv("DAGSTER_HOME", str(closed / "other"))
    assert folders.cluster_folder() != cluster, "two homes never share a cluster"


def test_root_without_public_parents_is_refused(monkeypatch, tmp_path, as_root):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    monkeypatch.setattr(folders, "_PUBLIC_PARENTS", (closed,))
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    with pytest.raises(Refused, match="DAGSTER_HOME"):
        folders.dagster_home()


def test_short_data_folder_holds_its_own_socket(tmp_path):
    short = Path("/tmp/d")
    assert folders.socket_folder(short) == short


def test_long_data_folder_has_a_short_socket_of_its_own():
    first, second = (Path("/tmp") / ("long" * 30) / name for name in ("a", "b"))
    for folder in (first, second):
        socket = folders.socket_folder(folder) / folders.SOCKET_NAME
        assert len(os.fsencode(socket)) < folders.SOCKET_PATH_MAX_BYTES
    assert folders.socket_folder(first) != folders.socket_folder(second)
    assert str(os.geteuid()) in folders.socket_folder(first).name, "two users never share a socket's folder"


def test_long_temporary_folder_is_not_used_for_the_socket(monkeypatch):
    monkeypatch.setattr(folders.tempfile, "gettempdir", lambda: "/tmp/" + "t" * 100)
    assert folders.socket_folder(Path("/tmp") / ("long" * 30)).parent == Path("/tmp").resolve()
