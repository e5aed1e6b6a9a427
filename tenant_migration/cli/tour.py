"""The quickstart's tour: numbered steps, each with the command that does the same by hand.

The steps run the very commands that they show, in this process, so that what is shown is what happened.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import click

from tenant_migration.cli.failures import ChecksFailed, Failure
from tenant_migration.cli.output import duration
from tenant_migration.cli.shortened import shortened
from tenant_migration.errors import OperationFailed, Refused
from tenant_migration.quickstart import sample_config
from tenant_migration.quickstart.databases import (
    SAMPLE_DATABASE,
    drop_sample_database,
    ensure_database,
    quickstart_server,
)
from tenant_migration.quickstart.folders import (
    cluster_folder,
    dagster_home,
    sample_config_file,
    sample_folder,
    sample_mappings_file,
)
from tenant_migration.quickstart.sample import (
    BY_TENANT_QUERY_FILE,
    QUERY_FILE,
    UNMAPPED_TENANT,
    IndependentCounts,
    SampleParameters,
    count_independently,
    count_tenants_independently,
    create_sample,
    describe_sample,
    find_sample,
    write_mappings,
)
from tenant_migration.quickstart.server import EmbeddedServer

INDENT = "   "


class Tour:
    """One walk through the workflow."""

    def __init__(self, wanted: SampleParameters, *, explicit: bool, reset: bool) -> None:
        """Take what the command line asked for.

        Args:
            wanted: the sample.
            explicit: whether its numbers were given: a sample with others is then not what is wanted.
            reset: whether to begin with a new sample.
        """
        self.wanted = wanted
        self.explicit = explicit
        self.reset = reset
        self._step = 0

    def run(self) -> None:
        """Walk through all steps.

        Raises:
            Refused: the sample is there with other numbers.
            OperationFailed: a step did not end as it must; nothing after it was done.
        """
        started = time.monotonic()
        server = self._server()
        sample = self._sample(server)
        self._install()
        self._mappings()
        self._plan()
        self._validate()
        self._dry_run()
        self._migrate()
        self._look()
        self._confirm(server, sample)
        self._roll_back(server, sample)
        self._migrate_again(server, sample)
        click.echo("")
        click.secho(f"Done in {duration(time.monotonic() - started)}.", bold=True)
        self._next(server)

    def _server(self) -> EmbeddedServer:
        with self._section("An embedded PostgreSQL, for this sample and for Dagster's own storage"):
            server = quickstart_server()
            _say(f"PostgreSQL {server.version} runs, on a unix socket only; its data: {cluster_folder()}")
            _say(f"Dagster's home, and everything else that is written: {dagster_home()}")
        return server

    def _sample(self, server: EmbeddedServer) -> SampleParameters:
        with self._section('The sample "Union Claims": claims and grievances of a labour congress'):
            if self.reset:
                _say("The earlier sample is dropped." if _drop(server) else "There was no earlier sample.")
            parameters = self._find_or_create(server)
            summary = describe_sample(parameters)
            sample_config.ensure_sample_config()
            write_mappings(sample_mappings_file(), summary)
            _say(
                f"{summary.rows:,} rows in eight tables, {parameters.tenants:,} tenants, "
                f"{summary.organizations:,} organizations: congress, federations, unions, locals"
            )
            for table, rows in summary.rows_by_table.items():
                _say(f"{INDENT}{table:<28}{rows:>12,}")
        return parameters

    def _find_or_create(self, server: EmbeddedServer) -> SampleParameters:
        url = _sample_url(server)
        ensure_database(server, SAMPLE_DATABASE)
        found = find_sample(url)
        if found is None:
            wanted = self.wanted
            create_sample(url, rows=wanted.rows, tenants=wanted.tenants, seed=wanted.seed)
            return wanted
        if self.explicit and found != self.wanted:
            raise Refused(
                f"the sample is there with {found.rows:,} rows and {found.tenants:,} tenants: "
                "--reset makes it anew"
            )
        _say("It is there already; --reset would make it anew.")
        return found

    def _install(self) -> None:
        with self._section("The tool's own tables and functions"):
            _command("install")

    def _mappings(self) -> None:
        with self._section("Which organization each tenant goes to, from a file"):
            _command("mappings", "--import", str(sample_mappings_file()))

    def _plan(self) -> None:
        with self._section("The plan: which tables, in which order, what is dangerous"):
            _command("plan", "--write")

    def _validate(self) -> None:
        """Show the refusal for the tenant that nobody mapped, allow it where everybody can see it, go on."""
        if sample_config.is_allowed(UNMAPPED_TENANT):
            with self._section("The checks before"):
                _say(f"{sample_config_file()} allows {UNMAPPED_TENANT} to stay unmapped already.")
                _command("validate")
            return
        with self._section("The checks before: a tenant without a mapping is refused"):
            if _command("validate", may_fail=ChecksFailed):
                raise OperationFailed(
                    f"the checks passed although nobody mapped {UNMAPPED_TENANT}: please report this"
                )
            click.echo("")
            _say(f"So nothing starts: the rows of {UNMAPPED_TENANT} would be left behind unnoticed.")
        with self._section("A person decides: this tenant is the platform's own and stays unmapped"):
            added = sample_config.allow(UNMAPPED_TENANT)
            _say(f"Added to {sample_config_file()}:")
            for line in added.splitlines():
                click.secho(f"{INDENT}+ {line}", fg="green")
            click.echo("")
            _command("plan", "--write", first=0)
            _command("validate")

    def _dry_run(self) -> None:
        with self._section("What would be done; nothing is changed"):
            _command("migrate", "--dry-run", first=20, last=1)

    def _migrate(self) -> None:
        with self._section("The migration, as a run of Dagster's job migrate_all"):
            _command("migrate")

    def _look(self) -> None:
        with self._section("Where it stands, and the checks after"):
            _command("status", "--detailed")
            click.echo("")
            _command("verify")

    def _confirm(self, server: EmbeddedServer, sample: SampleParameters) -> None:
        with self._section("The same question in plain SQL, which knows nothing of the tool"):
            click.secho(f"$ {_psql(server)} -f {shlex.quote(str(QUERY_FILE))}", fg="cyan")
            counts = count_independently(_sample_url(server))
            for name, count in vars(counts).items():
                _say(f"{name:<28}{count:>12,}")
            _refuse_differences(counts, sample)
            click.echo("")
            _say("Every row of a tenant with a mapping has its organization, and no other row has one.")

    def _roll_back(self, server: EmbeddedServer, sample: SampleParameters) -> None:
        """Take one tenant back and let plain SQL say that it is, and that no other is touched."""
        tenant = _example_tenant(sample)
        with self._section("One tenant goes back to where it was; all others stay migrated"):
            _command("rollback", "--tenant", tenant, "--verify", "--yes")
            click.echo("")
            rows = _show_tenant(server, tenant, expect_organizations=False)
            _refuse_differences(count_independently(_sample_url(server)), sample, rolled_back=rows)
            click.echo("")
            _say("No row of this tenant has an organization any more, and every other row has what it had.")

    def _migrate_again(self, server: EmbeddedServer, sample: SampleParameters) -> None:
        tenant = _example_tenant(sample)
        with self._section("And is migrated a second time"):
            _command("migrate", "--tenant", tenant)
            click.echo("")
            _show_tenant(server, tenant, expect_organizations=True)
            _refuse_differences(count_independently(_sample_url(server)), sample)
            click.echo("")
            _say("Every row of a tenant with a mapping has its organization again.")

    def _next(self, server: EmbeddedServer) -> None:
        lines = {
            "tenant-migration dev --quickstart": "Dagster's UI on this sample",
            "tenant-migration status --quickstart": "every command takes --quickstart",
            "tenant-migration quickstart --stop": "stops the embedded server",
        }
        click.echo("What to look at next:")
        for command, what in lines.items():
            _say(f"{command:<44}{what}")
        _say(_psql(server))
        click.echo("On a database of your own:")
        _say("export TENANT_MIGRATION_DATABASE_URL=postgresql://user:password@host:5432/database")
        _say(f"{'tenant-migration plan':<44}reads only")

    @contextmanager
    def _section(self, title: str) -> Iterator[None]:
        self._step += 1
        click.echo("")
        click.secho(f"{self._step}. {title}", bold=True)
        yield


def _example_tenant(sample: SampleParameters) -> str:
    """Return the tenant that goes back and comes again: the largest."""
    return describe_sample(sample).mappings[0][0]


def _show_tenant(server: EmbeddedServer, tenant: str, *, expect_organizations: bool) -> int:
    """Show what plain SQL says of a tenant; return its rows.

    Raises:
        OperationFailed: it is not as the command before reported.
    """
    click.secho(f"$ {_psql(server)} -f {shlex.quote(str(BY_TENANT_QUERY_FILE))}", fg="cyan")
    counts = count_tenants_independently(_sample_url(server))[tenant]
    _say(f"{tenant}: {counts.rows:,} rows, {counts.with_organization:,} of them with an organization")
    if counts.with_organization != (counts.rows if expect_organizations else 0):
        raise OperationFailed(f"the rows of tenant {tenant!r} are not as reported")
    return counts.rows


def _refuse_differences(counts: IndependentCounts, sample: SampleParameters, *, rolled_back: int = 0) -> None:
    differences = counts.differences(describe_sample(sample), rolled_back=rolled_back)
    if differences:
        raise OperationFailed("the rows are not as reported:\n" + "\n".join(differences))


def _say(line: str) -> None:
    click.echo(f"{INDENT}{line}")


def _command(
    *arguments: str, may_fail: type[Failure] | None = None, first: int | None = None, last: int = 0
) -> bool:
    """Show a command and run it; say whether it succeeded.

    Args:
        arguments: of `tenant-migration`.
        may_fail: the one failure after which to go on.
        first: of a long output only so many lines, and the `last`; None: all of it.
        last: see `first`.

    Raises:
        click.ClickException, click.exceptions.Exit: it failed and must not.
    """
    from tenant_migration.cli.main import cli  # noqa: PLC0415 - which finds this command too

    given = [*arguments, "--quickstart"]
    click.secho(f"$ tenant-migration {shlex.join(given)}", fg="cyan")
    try:
        with nullcontext() if first is None else shortened(first, last):
            code = cli.main(given, prog_name="tenant-migration", standalone_mode=False)
    except Failure as failure:
        if may_fail is None or not isinstance(failure, may_fail):
            raise
        click.secho(f"(exit code {failure.exit_code}: {failure.format_message()})", fg="yellow")
        return False
    if code:
        raise click.exceptions.Exit(code)
    return True


def _drop(server: EmbeddedServer) -> bool:
    """Drop the sample and its files."""
    was_there = drop_sample_database(server)
    for file in (sample_config_file(), sample_mappings_file()):
        file.unlink(missing_ok=True)
    if sample_folder().is_dir() and not any(sample_folder().iterdir()):
        sample_folder().rmdir()
    return was_there


def _sample_url(server: EmbeddedServer) -> str:
    return server.uri(SAMPLE_DATABASE, SAMPLE_DATABASE)


def _psql(server: EmbeddedServer) -> str:
    return shlex.join([str(server.programs / "psql"), _sample_url(server)])
