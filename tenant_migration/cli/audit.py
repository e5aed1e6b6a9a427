"""`tenant-migration audit`."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timedelta, timezone
from pathlib import Path

import click

from tenant_migration.cli import audit_text
from tenant_migration.cli.failures import ChecksFailed
from tenant_migration.cli.output import console, glyphs, print_json
from tenant_migration.cli.target import Target, target_options
from tenant_migration.workflow.audit_log import Filter, Verification, read_entries, verify_log

SHOWN_BY_DEFAULT = 50


_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def moment(_context: click.Context, _parameter: click.Parameter, value: str | None) -> datetime | None:
    """Read a date, a time, or how long ago: `2026-01-31`, `2026-01-31T14:00`, `90m`, `12h`, `7d`.

    What names no time zone is in this machine's.
    """
    if value is None:
        return None
    number, unit = value[:-1], value[-1:]
    try:
        if unit in _UNITS and number.isdecimal():
            return datetime.now(timezone.utc) - timedelta(**{_UNITS[unit]: int(number)})
        return datetime.fromisoformat(value.replace("Z", "+00:00")).astimezone()
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{value!r} is no time: give 2026-01-31, 2026-01-31T14:00, 90m, 12h or 7d"
        ) from None


@click.command(
    epilog="""\b
Examples:
  tenant-migration audit                                # the newest 50 entries
  tenant-migration audit --operation rollback --since 7d
  tenant-migration audit --tenant local-12 --table claims --limit 0
  tenant-migration audit --json --since 2026-01-31 > audit.json
  tenant-migration audit --verify
  tenant-migration audit --verify --report validation-report.json
"""
)
@click.option("--tenant", "tenants", metavar="ID", multiple=True, help="About this tenant; may be repeated.")
@click.option(
    "--table",
    "tables",
    metavar="NAME",
    multiple=True,
    help="About this table, `name` or `schema.name`; may be repeated.",
)
@click.option(
    "--operation",
    "operations",
    metavar="NAME",
    multiple=True,
    help="migrate, rollback, backup, validate, verify, plan, install, ...; may be repeated.",
)
@click.option(
    "--since", metavar="TIME", callback=moment, help="From then on: 2026-01-31T14:00, or 90m, 12h, 7d ago."
)
@click.option("--until", metavar="TIME", callback=moment, help="Before then.")
@click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(0),
    help=f"The newest N; 0: all. Default: {SHOWN_BY_DEFAULT}, with --json all.",
)
@click.option("--json", "as_json", is_flag=True, help="Every column, as JSON.")
@click.option(
    "--verify",
    "verifying",
    is_flag=True,
    help="Check every seal, and that every anchor outside of the database is still in the log.",
)
@click.option(
    "--report",
    "reports",
    metavar="FILE",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="With --verify: this report's anchor too; may be repeated.",
)
@target_options
def audit(
    *,
    target: Target,
    tenants: tuple[str, ...],
    tables: tuple[str, ...],
    operations: tuple[str, ...],
    since: datetime | None,
    until: datetime | None,
    limit: int | None,
    as_json: bool,
    verifying: bool,
    reports: tuple[Path, ...],
) -> None:
    """Show who did what, when, with which outcome, or check that nobody changed it.

    Every operation that writes is there, and every validation and verification, also when it failed or was
    refused. What only reads (plan, status, mappings --list, dry runs) is not. Reads only.
    """
    wanted = Filter(tenants, tables, operations, since, until)
    if reports and not verifying:
        raise click.UsageError("--report goes with --verify")
    if verifying and (wanted != Filter() or limit is not None):
        raise click.UsageError("--verify checks the whole log: no filter and no --limit beside it")
    if verifying:
        _verify(target, reports, as_json=as_json)
        return
    if limit is None and not as_json:
        limit = SHOWN_BY_DEFAULT
    with target.connection(read_only=True) as connection:
        entries, total = read_entries(connection, wanted, limit=limit or None)
    if as_json:
        print_json([asdict(entry) for entry in entries])
        return
    if entries:
        console().print(audit_text.entries_table(entries))
        click.echo("")
    click.echo(audit_text.sum_line(len(entries), total))


def _verify(target: Target, reports: tuple[Path, ...], *, as_json: bool) -> None:
    with target.connection(read_only=True) as connection:
        verification = verify_log(connection, reports=reports)
    if as_json:
        print_json(audit_text.verification_json(verification))
    else:
        _print(verification)
    if verification.problems:
        raise ChecksFailed(
            "the audit log is not what it was:\n" + "\n".join(f"  {line}" for line in verification.problems)
        )


def _print(verification: Verification) -> None:
    if not verification.problems:
        click.echo(f"{glyphs().check}{audit_text.verified_line(verification)}")
    for note in verification.notes:
        click.echo(note)
    click.echo(f"Anchor of now: {verification.chain.anchor.entries} {verification.chain.anchor.head}")
