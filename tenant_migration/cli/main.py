"""The group of all commands: finds a command's file, and turns what a command raises into one message."""

from __future__ import annotations

import difflib
import sys
from importlib import import_module
from typing import Any

import click

from tenant_migration import __version__
from tenant_migration.cli.failures import INTERRUPTED, failure_of

COMMANDS = (
    "quickstart",
    "dev",
    "install",
    "plan",
    "mappings",
    "validate",
    "backup",
    "migrate",
    "status",
    "verify",
    "rollback",
    "cancel",
    "resume",
    "cache",
    "audit",
)
"""In the order of use. Each is the function of its own name in the module of its own name."""

EPILOG = """\b
The database is named by the environment:
  export TENANT_MIGRATION_DATABASE_URL=postgresql://user:password@host:5432/database

\b
First time, on a sample:    tenant-migration quickstart
On your own database:       install, plan, mappings, validate, migrate --dry-run,
                            migrate, verify, status --detailed
Back to where it was:       rollback --tenant ID, --table NAME or --all; in an emergency
                            rollback --emergency
"""


class CommandGroup(click.Group):
    """Loads a command's module when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order of use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of this name, or None."""
        if cmd_name not in COMMANDS:
            return None
        command = getattr(import_module(f"tenant_migration.cli.{cmd_name}"), cmd_name)
        if not isinstance(command, click.Command):
            raise TypeError(f"tenant_migration.cli.{cmd_name}.{cmd_name} is not a command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the nearest command when there is none of this name."""
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            nearest = difflib.get_close_matches(name, COMMANDS, n=1)
            hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
            raise click.UsageError(f"no such command {name!r}{hint}", ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; whatever it raises ends as one message and an exit code, never as a traceback."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except BrokenPipeError:
            raise  # the reader of our output went away; click ends quietly
        except Exception as error:
            raise failure_of(error) from error
        except (SystemExit, GeneratorExit):
            raise
        except BaseException:  # noqa: BLE001 - Ctrl-C, as Python's own or as Dagster's interruption
            click.echo("Interrupted.", err=True)
            ctx.exit(INTERRUPTED)


@click.group(
    cls=CommandGroup,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="tenant-migration")
def cli() -> None:
    """Move a live PostgreSQL database from tenant_id to organization_id.

    In short committed batches, validated before, verified after, with an exact undo.
    """


def main() -> None:
    """Run the command line of this process."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")  # an id that the terminal cannot show must not end the run
    cli(prog_name="tenant-migration")
