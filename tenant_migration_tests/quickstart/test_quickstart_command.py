"""The README's first command, as a person runs it: the tour, again, with other numbers, with Dagster's UI."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tenant_migration.quickstart import postmaster
from tenant_migration_tests.quickstart.command_line import CommandLine

ROWS, TENANTS = 3_000, 6

pytestmark = pytest.mark.xdist_group("quickstart")


@pytest.fixture(scope="module")
def command_line() -> Iterator[CommandLine]:
    folder = Path(tempfile.mkdtemp(prefix="tmq", dir="/tmp"))
    folder.chmod(0o711)
    command_line = CommandLine(folder / "home")
    yield command_line
    command_line.run("quickstart", "--stop")
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def first_run(command_line: CommandLine) -> subprocess.CompletedProcess[str]:
    return command_line.run("quickstart", "--rows", str(ROWS), "--tenants", str(TENANTS))


@pytest.fixture
def sample(command_line: CommandLine, first_run: object) -> Iterator[psycopg.Connection]:
    socket_folder = command_line.home / "postgresql"
    with psycopg.connect(host=str(socket_folder), dbname="union_claims", user="union_claims") as connection:
        yield connection


def dagster_runs(command_line: CommandLine) -> list[tuple[str, str]]:
    socket_folder = command_line.home / "postgresql"
    with psycopg.connect(host=str(socket_folder), dbname="dagster", user="dagster") as connection:
        return connection.execute("SELECT pipeline_name, status FROM runs ORDER BY id").fetchall()


def test_tour_ends_well(first_run):
    assert first_run.returncode == 0, first_run.stdout + first_run.stderr
    assert "Done in" in first_run.stdout


def test_tour_shows_each_step_with_its_command(first_run):
    commands = [line for line in first_run.stdout.splitlines() if line.startswith("$ tenant-migration")]
    names = [line.split()[2] for line in commands]
    assert names == [
        "install",
        "mappings",
        "plan",
        "validate",
        "plan",
        "validate",
        "migrate",
        "migrate",
        "status",
        "verify",
        "rollback",
        "migrate",
    ]
    assert all(line.endswith("--quickstart") for line in commands)


def test_tour_shows_the_refusal_for_the_tenant_that_nobody_mapped(first_run):
    before, _, after = first_run.stdout.partition("A person decides")
    assert "Validation FAILED" in before
    assert "platform-system" in before
    assert "exit code 1" in before
    assert "Validation FAILED" not in after


def test_tour_writes_the_decision_where_everybody_can_see_it(command_line, first_run):
    added = "allowed_unmapped_tenants: [platform-system]"
    assert f"+   {added}" in first_run.stdout
    assert added in (command_line.home / "quickstart" / "migration.yaml").read_text()


def test_every_row_is_where_the_imported_file_says(command_line, sample):
    """Judged by this test's own SQL over the file that a user would have written."""
    lines = (command_line.home / "quickstart" / "mappings.csv").read_text().splitlines()[1:]
    wanted = dict(line.rsplit(",", 1) for line in lines)
    assert len(wanted) == TENANTS
    total = 0
    for table in (
        "profiles",
        "claims",
        "documents",
        "precedents",
        "clause_library",
        "certification_applications",
        "grievances",
        "strike_votes",
    ):
        found = sample.execute(
            psycopg.sql.SQL("SELECT tenant_id, organization_id::text, count(*) FROM {} GROUP BY 1, 2").format(
                psycopg.sql.Identifier(table)
            )
        ).fetchall()
        assert {tenant: organization for tenant, organization, _ in found} == {
            tenant: wanted.get(tenant) for tenant, _, _ in found
        }
        assert len(found) == len({tenant for tenant, _, _ in found}), f"{table}: one organization a tenant"
        total += sum(count for _, _, count in found)
    assert total == ROWS


def test_migration_is_a_run_of_dagster(command_line, first_run):
    assert ("migrate_all", "SUCCESS") in dagster_runs(command_line)


def test_tour_takes_one_tenant_back_and_migrates_it_again(first_run):
    assert "Rollback completed successfully!" in first_run.stdout
    back, again = re.findall(
        r"^   \S+: ([\d,]+) rows, ([\d,]+) of them with an organization$", first_run.stdout, re.M
    )
    assert back[0] != "0"
    assert back[1] == "0"
    assert again == (back[0], back[0])
    assert f"Total records restored: {back[0]}" in first_run.stdout
    assert f"Total records migrated: {back[0]}" in first_run.stdout


def test_taking_back_is_a_run_of_dagster_too(command_line, first_run):
    runs = dagster_runs(command_line)
    assert runs.index(("migrate_all", "SUCCESS")) < runs.index(("rollback_all", "SUCCESS"))


def test_status_is_what_the_tour_printed(command_line, first_run):
    status = json.loads(command_line.run("status", "--json", "--quickstart").stdout)
    assert status["overall"]["percentage"] == 100.0
    assert f"Completed: {TENANTS}" in first_run.stdout


def test_nothing_is_written_outside_of_its_folder(command_line, first_run):
    assert {path.name for path in command_line.home.parent.iterdir()} == {"home"}


def test_other_numbers_are_refused_and_nothing_is_touched(command_line, first_run, sample):
    result = command_line.run("quickstart", "--rows", "5000")
    assert result.returncode == 1
    assert "--reset" in result.stderr
    assert sample.execute("SELECT count(*) FROM documents").fetchone() == (ROWS * 40 // 100,)


@pytest.mark.parametrize(
    "arguments", [("--rows", "5"), ("--tenants", "1"), ("--rows", "0"), ("--stop", "--reset")]
)
def test_bad_numbers_end_before_anything_is_started(command_line, arguments):
    result = command_line.run("quickstart", *arguments)
    assert result.returncode == 2, result.stdout + result.stderr
    assert result.stdout == ""


def test_second_run_says_what_is_done_and_leaves_every_row_as_it_is(command_line, first_run, sample):
    content = "SELECT count(*), sum(hashtextextended(d::text, 0)) FROM documents d"
    before = sample.execute(content).fetchone()
    result = command_line.run("quickstart")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "It is there already" in result.stdout
    assert "stay unmapped already" in result.stdout
    assert "Total records migrated: 0" in result.stdout
    assert sample.execute(content).fetchone() == before


def test_reset_drops_the_sample_and_only_the_sample(command_line, first_run):
    runs = len(dagster_runs(command_line))
    socket_folder = command_line.home / "postgresql"
    with psycopg.connect(host=str(socket_folder), user="postgres", autocommit=True) as connection:
        connection.execute("CREATE DATABASE mine")
    result = command_line.run("quickstart", "--reset", "--rows", str(ROWS), "--tenants", str(TENANTS))
    assert result.returncode == 0, result.stdout + result.stderr
    assert "The earlier sample is dropped." in result.stdout
    assert "Validation FAILED" in result.stdout, "the decision is gone too"
    with psycopg.connect(host=str(socket_folder), user="postgres", autocommit=True) as connection:
        connection.execute("DROP DATABASE mine")  # fails when it is not there any more
    assert len(dagster_runs(command_line)) > runs, "Dagster's history stays"


def test_database_of_that_name_that_is_not_ours_is_not_dropped(command_line, first_run):
    socket_folder = command_line.home / "postgresql"
    with psycopg.connect(host=str(socket_folder), user="postgres", autocommit=True) as connection:
        connection.execute("COMMENT ON DATABASE union_claims IS 'somebody else'")
        result = command_line.run("quickstart", "--reset")
        assert result.returncode == 1
        assert "was not made by the quickstart" in result.stderr
        assert connection.execute(
            "SELECT count(*) FROM pg_database WHERE datname = 'union_claims'"
        ).fetchone() == (1,)
        connection.execute("COMMENT ON DATABASE union_claims IS 'made by tenant-migration quickstart'")


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.faults)], ids=lambda n: n.name
)
def test_dev_serves_the_sample_and_ends_whole(command_line, first_run, number):
    port = free_port()
    process = command_line.start("dev", "--quickstart", "--port", str(port))
    try:
        said = read_until(process, f"http://127.0.0.1:{port}")
        assets = wait_for_assets(process, port)
        assert ["public", "claims"] in assets
        assert ["public", "strike_votes"] in assets
        children = descendants(process.pid)
        assert len(children) >= 3, "code server, webserver, daemon"
        process.send_signal(number)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, said + output
    assert [pid for pid in children if Path(f"/proc/{pid}/cmdline").exists() and not is_zombie(pid)] == []


def test_dev_refuses_a_port_that_is_taken(command_line, first_run):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = command_line.run("dev", "--quickstart", "--port", str(taken.getsockname()[1]))
    assert result.returncode == 1
    assert "another --port" in result.stderr


def test_stop_stops_and_the_next_command_starts_it_again(command_line, first_run):
    data_folder = command_line.home.resolve() / "postgresql"
    assert command_line.run("quickstart", "--stop").returncode == 0
    assert not postmaster.is_running(data_folder)
    assert "does not run" in command_line.run("quickstart", "--stop").stdout
    assert command_line.run("status", "--quickstart").returncode == 0
    assert postmaster.is_running(data_folder)


def test_without_a_sample_every_other_command_says_what_to_do(tmp_path_factory):
    folder = Path(tempfile.mkdtemp(prefix="tmq", dir="/tmp"))
    folder.chmod(0o711)
    command_line = CommandLine(folder / "home")
    try:
        result = command_line.run("status", "--quickstart")
        assert result.returncode == 1
        assert "run tenant-migration quickstart" in result.stderr
    finally:
        command_line.run("quickstart", "--stop")
        shutil.rmtree(folder)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def read_until(process: subprocess.Popen[str], text: str) -> str:
    """Read what a process says until it says this."""
    said = ""
    assert process.stdout is not None
    while text not in said:
        line = process.stdout.readline()
        assert line, f"it ended without saying {text}: {said}"
        said += line
    return said


def wait_for_assets(process: subprocess.Popen[str], port: int) -> list[list[str]]:
    """Ask the webserver for the assets until the code location is loaded."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            assets = [node["assetKey"]["path"] for node in graphql(port)["assetNodes"]]
        except OSError:
            assets = []
        if assets:
            return assets
        time.sleep(0.5)
    process.kill()
    raise AssertionError(f"no assets: {process.communicate()[0]}")


def graphql(port: int) -> dict[str, Any]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql",
        data=json.dumps({"query": "{assetNodes{assetKey{path}}}"}).encode(),
        headers={"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        data: dict[str, Any] = json.load(answer)["data"]
    return data


def descendants(pid: int) -> list[int]:
    """The processes below one, by what the kernel says of each one's parent."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    found: list[int] = []
    waiting = [pid]
    while waiting:
        parent = waiting.pop()
        children = [child for child, its in parents.items() if its == parent and child != os.getpid()]
        found += children
        waiting += children
    return found


def is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True
