"""Events are written beside the ops; what fails there is neither lost nor silent."""

from __future__ import annotations

import threading

import dagster as dg
import pytest

from tenant_migration.errors import OperationFailed
from tenant_migration.orchestration.recording import Recording, recording_resource


def fail() -> None:
    raise ConnectionError("the storage is gone")


def test_everything_is_recorded_in_its_order_while_the_caller_goes_on() -> None:
    recording = Recording()
    release, recorded = threading.Event(), []
    recording.submit("first", lambda: (release.wait(30), recorded.append("first"))[1])
    recording.submit("second", lambda: recorded.append("second"))
    assert recorded == []
    release.set()
    recording.wait()
    assert recorded == ["first", "second"]
    assert recording.close() == []


def test_who_waits_is_told_what_could_not_be_recorded() -> None:
    recording = Recording()
    recording.submit("public.claims", fail)
    with pytest.raises(OperationFailed, match=r"public\.claims is done, but .*the storage is gone"):
        recording.wait()
    recording.wait()  # said once
    assert recording.close() == []


def test_the_next_table_is_told_too_and_recorded_nevertheless() -> None:
    recording = Recording()
    recording.submit("public.claims", fail)
    recorded: list[str] = []

    def submit_until_told() -> None:
        while True:
            recording.submit("public.notes", lambda: recorded.append("notes"))

    with pytest.raises(OperationFailed, match=r"public\.claims"):
        submit_until_told()
    recording.wait()
    assert recorded
    assert recording.close() == []


def test_what_nobody_waited_for_is_recorded_at_the_end_or_reported() -> None:
    release, recorded = threading.Event(), []
    with dg.build_resources({"recording": recording_resource}) as resources:
        resources.recording.submit("public.claims", lambda: (release.wait(30), fail())[1])
        resources.recording.submit("public.notes", lambda: recorded.append("notes"))
        release.set()
    assert recorded == ["notes"]
    recording = Recording()
    recording.submit("public.claims", fail)
    assert recording.close() == ["public.claims: the storage is gone"]
