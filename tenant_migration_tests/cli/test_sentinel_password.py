"""A password in the URL is in the environment of the process that was given it, and nowhere else.

The whole workflow runs through the command line in processes of its own, with a sentinel as the password of
both databases, while somebody watches the machine's processes and the server's sessions.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from tenant_migration.quickstart.sample import UNMAPPED_TENANT, write_mappings
from tenant_migration_tests.cli.conftest import Templates
from tenant_migration_tests.cli.runner import CommandLine
from tenant_migration_tests.servers import OWNER, Server
from tenant_migration_tests.versions import newest_server_only

pytestmark = newest_server_only

SENTINEL = "s3nt1nel.Passw0rd"

COMMANDS = (
    (0, "install"),
    (0, "mappings --import mappings.csv"),
    (0, "plan --write"),
    (1, "validate --config strict.yaml --export refused.html"),
    (0, "migrate --tenant {tenant}"),
    (0, "verify --export after.json"),
    (1, "migrate --tenant nobody"),
    (0, "rollback --tenant {tenant} --yes"),
    (0, "audit --limit 0"),
)


@dataclass
class Watch:
    """What was seen while commands ran."""

    command_lines: set[str] = field(default_factory=set)
    sessions: set[str] = field(default_factory=set)


@contextmanager
def watching(url: str) -> Iterator[Watch]:
    """Look at every process's command line and every session, again and again."""
    seen, over = Watch(), threading.Event()

    def look() -> None:
        with psycopg.connect(url, autocommit=True) as superuser:
            while not over.wait(0.02):
                for path in Path("/proc").glob("[0-9]*/cmdline"):
                    with suppress(OSError):  # it ended
                        seen.command_lines.add(
                            path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
                        )
                sessions = superuser.execute(
                    "SELECT a::text FROM pg_stat_activity a WHERE pid <> pg_backend_pid()"
                )
                seen.sessions.update(row[0] for row in sessions)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()


def all_text_of(url: str) -> str:
    """Every row of every table of every schema that is not the server's."""
    with psycopg.connect(url, autocommit=True) as connection:
        tables = connection.execute(
            "SELECT n.nspname::text, c.relname::text"
            " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_|^information_schema$'"
        ).fetchall()
        assert len(tables) > 10
        return "\n".join(
            str(row)
            for schema, table in tables
            for row in connection.execute(
                sql.SQL("SELECT t::text FROM {} AS t").format(sql.Identifier(schema, table))
            )
        )


def test_the_sentinel_is_nowhere(server: Server, templates: Templates, tmp_path: Path) -> None:
    name, storage = server.create_database(templates.name("sample")), server.create_database()
    assert templates.summary is not None
    write_mappings(tmp_path / "mappings.csv", templates.summary)
    (tmp_path / "strict.yaml").write_text("{}")
    (tmp_path / "migration.yaml").write_text(
        f"validation: {{allowed_unmapped_tenants: [{UNMAPPED_TENANT}]}}\n"
    )
    tenant = templates.summary.mappings[0][0]
    run = CommandLine(
        {
            "TENANT_MIGRATION_DATABASE_URL": _with_sentinel(server.url(name)),
            "TENANT_MIGRATION_DAGSTER_URL": _with_sentinel(server.url(storage)),
            "TENANT_MIGRATION_ACTOR": "tester",
            "DAGSTER_HOME": str(tmp_path / "dagster"),
        }
    )
    printed = []
    with watching(server.superuser_url()) as seen:
        for exit_code, command in COMMANDS:
            arguments = [part.format(tenant=tenant) for part in command.split()]
            done = subprocess.run(
                [sys.executable, "-m", "tenant_migration.cli", *arguments],
                env=run.process_environment(), cwd=tmp_path, capture_output=True, text=True, check=False,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip
            assert done.returncode == exit_code, (command, done.stderr)
            printed.append(done.stdout + done.stderr)
        time.sleep(0.1)
    places = {
        "output": "\n".join(printed),
        "command lines": "\n".join(seen.command_lines),
        "sessions": "\n".join(seen.sessions),
        "the database": all_text_of(server.url(name)),
        "Dagster's storage": all_text_of(server.url(storage)),
        "files": _files_in(tmp_path),
    }
    _drop(server, name, storage)
    must_have = {
        "output": "Migration completed successfully",
        "command lines": "tenant_migration.cli migrate",
        "sessions": "tenant_migration dagster",
        "the database": "tester",
        "Dagster's storage": "migrate_all",
        "files": "auditAnchor",
    }
    for place, text in places.items():
        assert must_have[place] in text, f"the search of {place} looks at the right thing"
        assert SENTINEL not in text, f"the password is in {place}"


@pytest.mark.parametrize("variable", ["TENANT_MIGRATION_DATABASE_URL", "TENANT_MIGRATION_DAGSTER_URL"])
@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://somebody:{SENTINEL}@127.0.0.1:9/none",
        f"postgresql://somebody:{SENTINEL}/x@host:port/none",
        f"host=127.0.0.1 port=9 password={SENTINEL} dbname=none",
        f"password={SENTINEL} nonsense",
    ],
)
def test_nor_in_what_says_that_it_does_not_work(variable: str, url: str, planned: CommandLine) -> None:
    result = planned("validate", **{variable: url})
    assert result.exit_code in (1, 2)
    assert SENTINEL not in result.stdout + result.stderr


def _with_sentinel(url: str) -> str:
    marked = url.replace(f"//{OWNER}@", f"//{OWNER}:{SENTINEL}@")
    assert SENTINEL in marked
    return marked


def _files_in(folder: Path) -> str:
    return "\n".join(file.read_text(errors="replace") for file in folder.rglob("*") if file.is_file())


def _drop(server: Server, *names: str) -> None:
    for name in names:
        server.drop_database(name)
