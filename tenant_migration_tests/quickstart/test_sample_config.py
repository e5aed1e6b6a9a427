"""The sample's configuration file: changed in the open, never behind what somebody wrote into it."""

from __future__ import annotations

import pytest

from tenant_migration.config import load_config
from tenant_migration.errors import Refused
from tenant_migration.quickstart.folders import sample_config_file
from tenant_migration.quickstart.sample_config import allow, ensure_sample_config, is_allowed


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))


def test_file_begins_without_any_allowance():
    ensure_sample_config()
    assert not is_allowed("platform-system")


def test_allowance_is_added_and_returned_as_it_stands_in_the_file():
    ensure_sample_config()
    added = allow("platform-system")
    assert is_allowed("platform-system")
    assert added in sample_config_file().read_text()
    assert load_config(sample_config_file()).tenant_key_columns == ["tenant_id"]


def test_what_somebody_wrote_stays():
    ensure_sample_config()
    with sample_config_file().open("a") as file:
        file.write("cache_ttl_seconds: 7")  # and no line end
    ensure_sample_config()
    allow("platform-system")
    assert load_config(sample_config_file()).cache_ttl_seconds == 7
    assert is_allowed("platform-system")


def test_section_that_is_there_is_not_hidden_by_a_second_one():
    ensure_sample_config()
    with sample_config_file().open("a") as file:
        file.write("validation:\n  allowed_unmapped_tenants: [other]\n")
    before = sample_config_file().read_text()
    with pytest.raises(Refused, match="add 'platform-system' to it yourself"):
        allow("platform-system")
    assert sample_config_file().read_text() == before
