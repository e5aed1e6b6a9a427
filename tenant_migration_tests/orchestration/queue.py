"""Dagster as in production, but for its clock: the daemons of the queue and of backfills go step by step.

The code location is a process of its own, each run is another, and requests come as the UI sends them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import dagster as dg
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._daemon.backfill import execute_backfill_iteration
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon
from dagster._utils.log import get_dagster_logger
from dagster_graphql.client.query import LAUNCH_PARTITION_BACKFILL_MUTATION
from dagster_graphql.test.utils import execute_dagster_graphql

from tenant_migration.orchestration.partition_keys import partition_key, tenant_id
from tenant_migration.resources import resource_path

_RUN_S = 90
_LOCATION = "tenant_migration"
_REPOSITORY = {"repositoryLocationName": _LOCATION, "repositoryName": "__repository__"}
_LAUNCH = """
mutation($executionParams: ExecutionParams!) {
  launchRun(executionParams: $executionParams) {
    __typename
    ... on LaunchRunSuccess { run { runId status } }
    ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } }
  }
}
"""


@dataclass(frozen=True)
class Queue:
    """Dagster's queue over the shared instance."""

    process: WorkspaceProcessContext
    daemon: QueuedRunCoordinatorDaemon

    @property
    def instance(self) -> dg.DagsterInstance:
        """The instance that all its processes share."""
        return self.process.instance

    def launch(
        self, job: str, *, tenant: str | None = None, config: Mapping[str, object] | None = None
    ) -> str:
        """Ask for a run, as the launchpad does; return its id."""
        tags = [] if tenant is None else [{"key": "dagster/partition", "value": partition_key(tenant)}]
        answer = self._request(
            _LAUNCH,
            {
                "executionParams": {
                    "selector": {**_REPOSITORY, "jobName": job},
                    "runConfigData": config or {},
                    "executionMetadata": {"tags": tags},
                }
            },
        )["launchRun"]
        assert answer["__typename"] == "LaunchRunSuccess", answer
        return str(answer["run"]["runId"])

    def backfill(self, job: str, tenants: Sequence[str]) -> dict[str, str]:
        """Ask for a backfill of a job over tenants, as its page does; return tenant -> id of its run."""
        answer = self._request(
            LAUNCH_PARTITION_BACKFILL_MUTATION,
            {
                "backfillParams": {
                    "selector": {
                        "repositorySelector": _REPOSITORY,
                        "partitionSetName": f"{job}_partition_set",
                    },
                    "partitionNames": [partition_key(tenant) for tenant in tenants],
                }
            },
        )["launchPartitionBackfill"]
        assert answer["__typename"] == "LaunchBackfillSuccess", answer
        errors = [error for error in execute_backfill_iteration(self.process, get_dagster_logger()) if error]
        assert errors == []
        runs = self.instance.get_runs(dg.RunsFilter(tags={"dagster/backfill": str(answer["backfillId"])}))
        return {tenant_id(run.tags["dagster/partition"]): run.run_id for run in runs}

    def step(self) -> None:
        """Let the queue's daemon look once."""
        for _ in self.daemon.run_iteration(self.process):
            pass

    def status(self, run_id: str) -> dg.DagsterRunStatus:
        """Return where a run is."""
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run.status

    def wait(self, run_id: str) -> dg.DagsterRunStatus:
        """Wait until a run has ended."""
        deadline = time.monotonic() + _RUN_S
        while time.monotonic() < deadline:
            run = self.instance.get_run_by_id(run_id)
            if run is not None and run.is_finished:
                return run.status
            time.sleep(0.2)
        raise AssertionError(f"run {run_id} is {self.status(run_id)} after {_RUN_S} s")

    def _request(self, query: str, variables: dict[str, Any]) -> Mapping[str, Any]:
        return execute_dagster_graphql(self.process.create_request_context(), query, variables).data


@contextmanager
def queue(instance: dg.DagsterInstance) -> Iterator[Queue]:
    """Start the code location and stop it at the end."""
    target = WorkspaceFileTarget([str(resource_path("workspace.yaml"))])
    with (
        WorkspaceProcessContext(instance, target) as process,
        QueuedRunCoordinatorDaemon(interval_seconds=1) as daemon,
    ):
        yield Queue(process, daemon)
