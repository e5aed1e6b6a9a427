"""Wrong input: one message that names the thing and the next step, the right exit code, nothing changed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from tenant_migration_tests.cli.runner import CommandLine
from tenant_migration_tests.servers import OWNER

READING_COMMANDS = [
    ["plan"],
    ["mappings", "--list"],
    ["validate"],
    ["migrate", "--dry-run"],
    ["migrate"],
    ["status"],
    ["verify"],
    ["backup", "--list"],
    ["backup", "--create"],
    ["backup", "--cleanup"],
    ["backup", "--hold", "1"],
    ["rollback", "--all", "--yes"],
    ["rollback", "--emergency"],
    ["cancel"],
    ["resume"],
    ["cache", "--refresh"],
    ["install"],
]
IDS = [" ".join(arguments) for arguments in READING_COMMANDS]


@pytest.mark.parametrize("url", ["", "  "], ids=["empty", "blank"])
@pytest.mark.parametrize("arguments", READING_COMMANDS, ids=IDS)
def test_without_a_database_every_command_names_the_variable(arguments: list[str], url: str) -> None:
    result = CommandLine({"TENANT_MIGRATION_DATABASE_URL": url})(*arguments)
    assert result.exit_code == 2
    assert "TENANT_MIGRATION_DATABASE_URL" in result.error
    assert result.stdout == ""


@pytest.mark.parametrize("arguments", READING_COMMANDS, ids=IDS)
def test_an_unreachable_server_is_one_message_without_the_password(arguments: list[str]) -> None:
    url = f"postgresql://{OWNER}:S3cret%2Fand%40long@127.0.0.1:1/claims"
    result = CommandLine({})(*arguments, TENANT_MIGRATION_DATABASE_URL=url)
    assert result.exit_code == 1
    assert "host 127.0.0.1, port 1, database claims, user app_owner" in result.error
    assert result.stdout == ""


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://app:S3cret%2Fand%40long@db:notaport/claims",
        "postgresql://app:S3cret/and@long@db/claims",
        "S3cret/and@long",
        "mysql://app:S3cret%2Fand%40long@db/claims",
    ],
)
def test_a_malformed_url_is_the_input_s_fault_and_is_not_repeated(url: str) -> None:
    result = CommandLine({})("status", TENANT_MIGRATION_DATABASE_URL=url)
    assert result.exit_code == 2
    assert "postgresql://user:password@host:5432/database" in result.error


def test_a_misspelt_configuration_key_names_the_nearest(run: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "migration.yaml").write_text("defaults:\n  batch_sise: 10\nvalidation:\n  alowed: []\n")
    result = run("status")
    assert result.exit_code == 2
    assert "defaults.batch_sise: unknown key; did you mean 'batch_size'?" in result.error
    assert "validation.alowed: unknown key; did you mean 'allowed_unmapped_tenants'?" in result.error


@pytest.mark.parametrize("command", ["validate", "verify"])
@pytest.mark.parametrize("name", ["report", "report.pdf", "report.json.old"])
def test_a_report_of_no_known_suffix_is_refused_before_the_database_is_asked(command: str, name: str) -> None:
    result = CommandLine({})(command, "--export", name)
    assert result.exit_code == 2
    assert "has to end in one of .json, .html, .csv" in result.error
    assert not Path(name).exists()


def test_a_configuration_file_that_is_not_there_is_said_so(run: CommandLine) -> None:
    result = run("status", "--config", "nosuch.yaml")
    assert result.exit_code == 2
    assert result.error == "configuration file nosuch.yaml cannot be read: No such file or directory"
    assert run("status", TENANT_MIGRATION_CONFIG="nosuch.yaml").exit_code == 2


@pytest.mark.parametrize(
    "arguments", [["status"], ["mappings", "--list"], ["cache", "--clear"], ["validate"], ["migrate"]]
)
def test_without_the_schema_the_next_step_is_install(run: CommandLine, arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == 1
    assert "tenant-migration install" in result.error


def test_a_role_without_rights_is_told_which_and_changes_nothing(
    installed: CommandLine, stranger: str, connection: psycopg.Connection, mappings_file: Path
) -> None:
    for arguments in (
        ["install"],
        ["status"],
        ["mappings", "--import", str(mappings_file)],
        ["cache", "--clear"],
        ["migrate"],
        ["verify"],
    ):
        result = installed(*arguments, TENANT_MIGRATION_DATABASE_URL=stranger)
        assert result.exit_code == 1, arguments
        assert "stranger" in result.error, arguments
        assert "connect as" in result.error or "Install as" in result.error, arguments
    [(mappings,)] = connection.execute("SELECT count(*) FROM tenant_org_mappings")
    assert mappings == 0


def test_a_missing_right_on_a_table_names_the_table_and_what_to_grant(
    installed: CommandLine, connection: psycopg.Connection, mappings_file: Path
) -> None:
    connection.execute("REVOKE SELECT ON organizations FROM app_owner")
    result = installed("mappings", "--import", str(mappings_file))
    assert result.exit_code == 1
    assert result.error == (
        "missing right: permission denied for table organizations; grant it to this role (GRANT ... TO ...), "
        "or connect as the owner of the tables"
    )
    connection.execute("REVOKE SELECT ON tenant_org_mappings FROM app_owner")
    assert "permission denied for table tenant_org_mappings" in installed("status").error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cache"], "give --refresh or --clear"),
        (["cache", "--refresh", "--clear"], "give --refresh or --clear"),
        (["mappings"], "give one of --import FILE, --suggest, --export FILE, --list [STATUS]"),
        (["mappings", "--suggest", "--list"], "give one of"),
        (["mappings", "--import", "nosuch.csv"], "'nosuch.csv' does not exist"),
        (["mappings", "--list", "done"], "'done' is not one of"),
        (["mappings", "--export", "nosuch/mappings.csv"], "the folder nosuch does not exist"),
        (["validate", "--export", "nosuch/report.json"], "the folder nosuch does not exist"),
        (["verify", "--pre", "--post"], "give --pre or --post, not both"),
        (["status", "extra"], "unexpected extra argument"),
    ],
)
def test_contradictory_or_incomplete_options_are_usage_errors(
    installed: CommandLine, arguments: list[str], message: str
) -> None:
    result = installed(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""


def test_an_output_that_takes_nothing_more_is_said_so(run: CommandLine) -> None:
    command = [sys.executable, "-m", "tenant_migration.cli", "plan", "--json"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command,
            env=run.process_environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == "Error: the operating system refused: [Errno 28] No space left on device\n"


def test_in_a_process_of_its_own_a_failure_is_one_message_and_an_exit_code() -> None:
    result = CommandLine({}).process("status", TENANT_MIGRATION_DATABASE_URL="postgresql://127.0.0.1:1/x")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: cannot connect to host 127.0.0.1")
    assert result.stdout == ""
