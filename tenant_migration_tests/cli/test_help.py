"""Help of every command, and that asking for it loads nothing heavy."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from tenant_migration.cli.main import COMMANDS, cli
from tenant_migration_tests.cli.runner import CommandLine

HEAVY = ("dagster", "sqlalchemy", "psycopg2", "grpc")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_examples(command: str) -> None:
    result = CliRunner().invoke(cli, [command, "--help"])
    assert result.exit_code == 0
    assert f"tenant-migration {command}" in result.stdout
    assert "Examples:" in result.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_says_what_it_does(command: str) -> None:
    found = cli.get_command(click.Context(cli), command)
    assert found is not None
    options = [parameter for parameter in found.params if isinstance(parameter, click.Option)]
    assert [option.name for option in options if not option.help] == []


def test_the_group_lists_its_commands_in_the_order_of_use() -> None:
    result = CliRunner().invoke(cli, ["--help"])
    assert result.exit_code == 0
    listed = [
        line.split()[0] for line in result.stdout.partition("Commands:\n")[2].splitlines() if line.strip()
    ]
    assert listed[: len(COMMANDS)] == list(COMMANDS)


def test_help_and_status_load_no_dagster() -> None:
    code = (
        "import sys\n"
        "from tenant_migration.cli.main import cli\n"
        "for arguments in (['--help'], ['status', '--help'], ['migrate', '--help'], ['dev', '--help']):\n"
        "    try: cli(arguments)\n"
        "    except SystemExit as end: assert end.code == 0, arguments\n"
        f"print('LOADED', [name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    environment = CommandLine({}).process_environment()
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "LOADED []" in done.stdout


def test_without_a_command_the_help_is_shown_and_it_is_a_usage_error() -> None:
    result = CliRunner().invoke(cli, [])
    assert result.exit_code == 2
    assert "Commands:" in result.output


def test_a_misspelt_command_names_the_nearest() -> None:
    result = CliRunner().invoke(cli, ["migrat"])
    assert result.exit_code == 2
    assert "Error: no such command 'migrat'; did you mean 'migrate'?" in result.stderr


def test_a_misspelt_option_is_a_usage_error() -> None:
    result = CliRunner().invoke(cli, ["migrate", "--dryrun"])
    assert result.exit_code == 2
    assert "--dryrun" in result.stderr
    assert "--dry-run" in result.stderr


def test_the_version_is_printed() -> None:
    result = CliRunner().invoke(cli, ["--version"])
    assert (result.exit_code, result.stdout) == (0, "tenant-migration, version 0.1.0\n")
