"""Every command that writes, and every validation and verification, is in the audit log, also when it failed.

One database goes through all of them, once; each test looks at what one step left in the log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tenant_migration.cli.main import COMMANDS
from tenant_migration.quickstart.sample import UNMAPPED_TENANT, write_mappings
from tenant_migration_tests.cli.conftest import Templates, with_password
from tenant_migration_tests.cli.runner import PASSWORD, CommandLine, Result
from tenant_migration_tests.database.scene import Scene
from tenant_migration_tests.servers import Server
from tenant_migration_tests.versions import newest_server_only

READS_ONLY = {"status", "audit"}
RUNS_OTHERS = {"quickstart", "dev"}
"""Commands that do their work through other commands and jobs."""

Rows = list[tuple[Any, ...]]


@contextmanager
def locked_settings(scene: Scene) -> Iterator[None]:
    """Let somebody else hold the settings."""
    with psycopg.connect(scene.connection.info.dsn) as other:
        other.execute("SELECT FROM tenant_migration.settings FOR UPDATE")
        yield


@contextmanager
def a_run_at_work(scene: Scene) -> Iterator[None]:
    """Let another process's run hold a lease."""
    run_id = scene.run("rollback")
    scene.execute("UPDATE tenant_migration.runs SET state = 'running' WHERE run_id = %s", run_id)
    table_id = scene.value("SELECT min(table_id) FROM tenant_migration.managed_tables")
    scene.lease(table_id, None, run_id)
    yield
    scene.execute("DELETE FROM tenant_migration.leases")
    scene.execute("UPDATE tenant_migration.runs SET state = 'cancelled' WHERE run_id = %s", run_id)


@dataclass(frozen=True)
class Step:
    """A call, and the records that it has to leave."""

    name: str
    call: str
    records: tuple[tuple[str, str], ...]
    """(operation, outcome), oldest first."""
    exit_code: int = 0
    says: str = ""
    """Part of the last record's reason."""
    during: Callable[[Scene], AbstractContextManager[None]] = lambda _: nullcontext()
    storage_is_down: bool = False


TABLES = 8
TAKEN_BACK = ("rollback table", "rolled_back")
STEPS = (
    Step("install", "install", (("install", "completed"),)),
    Step("install_refused", "install --config elsewhere.yaml", (("install", "refused"),), 1, "elsewhere"),
    Step("mappings", "mappings --import mappings.csv", (("import mappings", "completed"),)),
    Step("mappings_bad", "mappings --import bad.csv", (("import mappings", "failed"),), 1),
    Step(
        "mappings_locked", "mappings --import more.csv", (("import mappings", "failed"),), 1, "lock timeout",
        during=locked_settings,
    ),
    Step("plan", "plan --write", (("plan", "completed"),)),
    Step(
        "plan_refused", "plan --write --config no_organizations.yaml", (("plan", "refused"),), 1,
        "organizations",
    ),
    Step("cache", "cache --clear", (("cache", "completed"),)),
    Step(
        "cache_locked", "cache --refresh", (("cache", "failed"),), 1, "lock timeout", during=locked_settings
    ),
    Step("validate_fails", "validate --config strict.yaml", (("validate", "fail"),), 1),
    Step("validate", "validate", (("validate", "warning"),)),
    Step("validate_down", "validate", (("validate", "failed"),), 1, "cannot reach", storage_is_down=True),
    Step("backup", "backup --create --table claims", (("backup", "succeeded"),)),
    Step("backup_refused", "backup --create --tenant nobody", (("backup", "refused"),), 1, "nobody"),
    Step("backup_down", "backup --create", (("backup", "failed"),), 1, "cannot reach", storage_is_down=True),
    Step("hold", "backup --hold 1", (("hold", "succeeded"),)),
    Step("hold_refused", "backup --hold 99", (("hold", "refused"),), 1, "99"),
    Step("release", "backup --release 1", (("release", "succeeded"),)),
    Step("release_refused", "backup --release 99", (("release", "refused"),), 1, "99"),
    Step("cleanup", "backup --cleanup 0", (("backup cleanup", "succeeded"),)),
    Step(
        "cleanup_down", "backup --cleanup", (("backup cleanup", "failed"),), 1, "cannot reach",
        storage_is_down=True,
    ),
    Step("migrate_nobody", "migrate --tenant nobody", (("migrate", "refused"),), 1, "nobody"),
    Step("migrate_refused", "migrate --config strict.yaml", (("migrate", "refused"),), 1, UNMAPPED_TENANT),
    Step("migrate_down", "migrate", (("migrate", "failed"),), 1, "cannot reach", storage_is_down=True),
    Step(
        "migrate", "migrate",
        (
            ("backup", "succeeded"), ("migrate", "started"), *([("migrate table", "completed")] * TABLES),
            ("migrate", "completed"),
        ),
    ),
    Step("dry_run", "migrate --dry-run", ()),
    Step("verify", "verify", (("verify", "pass"),)),
    Step("verify_down", "verify", (("verify", "failed"),), 1, "cannot reach", storage_is_down=True),
    Step("rollback_nobody", "rollback --tenant nobody --yes", (("rollback", "refused"),), 1, "nobody"),
    Step(
        "rollback_down", "rollback --all --yes", (("rollback", "failed"),), 1, "cannot reach",
        storage_is_down=True,
    ),
    Step(
        "rollback", "rollback --table claims --with-children --yes",
        (("rollback", "started"), *([TAKEN_BACK] * 3), ("rollback", "rolled_back")),
    ),
    Step("rollback_again", "rollback --table claims --yes", (("rollback", "completed"),)),
    Step(
        "emergency", "rollback --emergency",
        (
            ("emergency stop", "started"), ("rollback", "started"), *([TAKEN_BACK] * TABLES),
            ("rollback", "rolled_back"), ("emergency stop", "completed"),
        ),
    ),
    Step("migrate_stopped", "migrate", (("migrate", "refused"),), 1, "emergency"),
    Step("resume_refused", "resume", (("resume", "refused"),), 1, "still works", during=a_run_at_work),
    Step("resume", "resume", (("resume", "completed"),)),
    Step("resume_again", "resume", (("resume", "completed"),)),
    Step("cancel", "cancel", (("cancel", "completed"),)),
    Step("cancel_refused", "cancel --table claimz", (("cancel", "refused"),), 1, "claimz"),
    Step("status", "status --detailed", ()),
    Step("audit", "audit --verify", ()),
)  # fmt: skip
BY_NAME = {step.name: step for step in STEPS}


@dataclass
class Story:
    """What each step gave and left in the log."""

    scene: Scene
    home: Path
    results: dict[str, Result] = field(default_factory=dict)
    records: dict[str, Rows] = field(default_factory=dict)


@pytest.fixture(scope="module")
def story(server: Server, templates: Templates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("audited")
    name = server.create_database(templates.name("installed"))
    assert templates.summary is not None
    write_mappings(folder / "mappings.csv", templates.summary)
    (folder / "bad.csv").write_text("tenant_id,organization_id\nacme,no-uuid\n")
    mapped = (folder / "mappings.csv").read_text().splitlines()
    (folder / "more.csv").write_text(f"{mapped[0]}\nsomebody new,{mapped[1].rpartition(',')[2]}\n")
    (folder / "strict.yaml").write_text("{}")
    (folder / "elsewhere.yaml").write_text("interface_schema: elsewhere\n")
    (folder / "no_organizations.yaml").write_text("organizations: {table: nowhere}\n")
    (folder / "migration.yaml").write_text(f"validation: {{allowed_unmapped_tenants: [{UNMAPPED_TENANT}]}}\n")
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.chdir(folder)
        patch.delenv("TENANT_MIGRATION_CONFIG", raising=False)
        connection = stack.enter_context(psycopg.connect(server.url(name), autocommit=True))
        run = CommandLine(
            {
                "TENANT_MIGRATION_DATABASE_URL": with_password(server.url(name)),
                "TENANT_MIGRATION_DAGSTER_URL": with_password(templates.storage_url()),
                "TENANT_MIGRATION_ACTOR": "tester",
                "DAGSTER_HOME": str(folder / "dagster"),
            }
        )
        story = Story(Scene(connection), folder / "dagster")
        for step in STEPS:
            _take(step, run, story)
        yield story
    server.drop_database(name)


def _take(step: Step, run: CommandLine, story: Story) -> None:
    [(before,)] = story.scene.rows("SELECT coalesce(max(seq), 0) FROM migration_audit_log")
    down = {"TENANT_MIGRATION_DAGSTER_URL": "postgresql://nobody@127.0.0.1:9/none"}
    with step.during(story.scene):
        story.results[step.name] = run(*step.call.split(), **(down if step.storage_is_down else {}))
    story.records[step.name] = story.scene.rows(
        "SELECT operation, outcome, actor, duration_ms,"
        " coalesce(detail ->> 'error', detail ->> 'reason', '')"
        " FROM migration_audit_log WHERE seq > %s ORDER BY seq",
        before,
    )


def test_every_command_is_among_the_steps() -> None:
    assert {step.call.split()[0] for step in STEPS} | RUNS_OTHERS == set(COMMANDS)


@newest_server_only
@pytest.mark.parametrize("name", BY_NAME)
def test_the_log_has(name: str, story: Story) -> None:
    step, result, records = BY_NAME[name], story.results[name], story.records[name]
    assert result.exit_code == step.exit_code, result.stderr
    assert tuple((operation, outcome) for operation, outcome, *_ in records) == step.records
    assert {actor for _, _, actor, *_ in records} <= {"tester"}
    if step.exit_code and records[-1][1] != "fail":
        assert step.says in records[-1][4]
        assert records[-1][3] is not None or step.name in ("hold_refused", "release_refused")


@newest_server_only
def test_what_only_reads_leaves_nothing(story: Story) -> None:
    reading = [step for step in STEPS if step.call.split()[0] in READS_ONLY or "--dry-run" in step.call]
    assert len(reading) == 3
    assert not any(story.records[step.name] for step in reading)


@newest_server_only
def test_the_log_is_whole_and_holds_no_secret(story: Story) -> None:
    assert story.scene.value("SELECT first_bad_seq FROM tenant_migration.verify_audit_chain()") is None
    log = "\n".join(row for (row,) in story.scene.rows("SELECT l::text FROM migration_audit_log AS l"))
    assert "tester" in log
    assert PASSWORD not in log
    assert "The audit log is whole" in story.results["audit"].stdout
    assert PASSWORD not in (story.home / "audit_anchors.jsonl").read_text()
