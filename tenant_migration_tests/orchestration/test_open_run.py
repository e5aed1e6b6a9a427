"""A migration run is closed in the database however the Dagster run around it ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
import pytest

from tenant_migration.backfill.runs import Run, start_run
from tenant_migration.config import DATABASE_URL_VARIABLE
from tenant_migration.database.connection import connect
from tenant_migration.orchestration.open_run import OpenRun, open_run_resource
from tenant_migration.orchestration.resources import Database
from tenant_migration.workflow.migrate import abort
from tenant_migration_tests.orchestration.conftest import App
from tenant_migration_tests.orchestration.versions import newest_server_only

pytestmark = newest_server_only


@contextmanager
def resource() -> Iterator[OpenRun]:
    with dg.build_resources({"open_run": open_run_resource}) as resources:
        yield resources.open_run


def interrupted_after(run: Run, database: Database) -> None:
    """As a termination between two ops."""
    with resource() as open_run:
        open_run.opened(run, database, abort)
        raise KeyboardInterrupt


def begin(app: App) -> Run:
    with connect(app.url) as connection:
        return start_run(connection, app.plan, actor="the test")


def states(app: App) -> list[tuple[object, ...]]:
    return app.query("SELECT state FROM tenant_migration.runs")


def test_a_run_that_is_left_open_between_two_ops_is_closed(app: App) -> None:
    run = begin(app)
    with pytest.raises(KeyboardInterrupt):
        interrupted_after(run, Database())
    [(state, reason)] = app.query("SELECT state, reason FROM tenant_migration.runs")
    assert state in {"failed", "cancelled"}
    assert "run it again" in str(reason)


def test_the_reason_of_the_op_that_stopped_is_kept(app: App) -> None:
    with resource() as open_run:
        open_run.opened(begin(app), Database(), abort)
        assert open_run.reason is None
        open_run.stopped(ZeroDivisionError("a mistake"))
        assert open_run.reason == "a mistake"
    [(_, reason)] = app.query("SELECT state, reason FROM tenant_migration.runs")
    assert "a mistake" in str(reason)


def test_a_run_that_was_closed_is_left_alone(app: App) -> None:
    with resource() as open_run:
        open_run.opened(begin(app), Database(), abort)
        open_run.closed()
    assert states(app) == [("running",)]  # as it was: closing it is the task of the op that did


def test_a_database_that_is_gone_does_not_hide_how_the_run_ended(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = begin(app)
    monkeypatch.setenv(DATABASE_URL_VARIABLE, "postgresql:///x?host=/nowhere")
    with pytest.raises(KeyboardInterrupt):
        interrupted_after(run, Database())
    assert states(app) == [("running",)]
