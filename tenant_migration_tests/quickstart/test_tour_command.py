"""A step of the tour that may fail goes on after the failure that it is there to show, and no other."""

from __future__ import annotations

import pytest

from tenant_migration.cli.failures import ChecksFailed, Failure
from tenant_migration.cli.tour import _command


def test_another_failure_than_the_one_to_show_ends_the_tour(monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", "not/absolute")
    with pytest.raises(Failure, match="DAGSTER_HOME must be an absolute path") as raised:
        _command("validate", may_fail=ChecksFailed)
    assert not isinstance(raised.value, ChecksFailed)
    assert not _command("validate", may_fail=Failure)
