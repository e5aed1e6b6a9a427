"""What a person reads about a run that could not go on."""

from __future__ import annotations

import psycopg
import pytest
from dagster._core.errors import DagsterExecutionInterruptedError

from tenant_migration.backfill.ending import reason_of, state_after
from tenant_migration.backfill.states import State
from tenant_migration.errors import LeaseLost, RunStopped
from tenant_migration_tests.backfill.conftest import World


@pytest.mark.parametrize(
    ("error", "state", "reason"),
    [
        (
            DagsterExecutionInterruptedError(),
            State.CANCELLED,
            "the run was interrupted by Dagster (DagsterExecutionInterruptedError)",
        ),
        (
            KeyboardInterrupt(),
            State.CANCELLED,
            "the run was interrupted by Ctrl-C (KeyboardInterrupt)",
        ),
        (RunStopped("claims: the run was cancelled"), State.CANCELLED, "claims: the run was cancelled"),
        (LeaseLost("claims: the lease is lost"), State.FAILED, "claims: the lease is lost"),
        (KeyError("x"), State.FAILED, "KeyError: 'x'"),
    ],
)
def test_state_and_reason_of_each_kind_of_end(error: BaseException, state: State, reason: str) -> None:
    assert (state_after(error), reason_of(error)) == (state, reason)


def test_the_reason_of_a_database_error_holds_no_values_of_the_row(bare_world: World) -> None:
    bare_world.sql("CREATE TABLE public.secrets (code text PRIMARY KEY)")
    bare_world.sql("INSERT INTO public.secrets VALUES ('hunter2')")
    with pytest.raises(psycopg.errors.UniqueViolation) as error:
        bare_world.sql("INSERT INTO public.secrets VALUES ('hunter2')")
    assert "hunter2" in str(error.value)
    assert "hunter2" not in reason_of(error.value)
    assert "secrets_pkey" in reason_of(error.value)
