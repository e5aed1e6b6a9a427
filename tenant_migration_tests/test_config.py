"""The configuration file: every mistake is named with its path, and every default is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from tenant_migration import config as configuration
from tenant_migration.config import (
    ACTOR_VARIABLE,
    CONFIG_VARIABLE,
    DATABASE_URL_VARIABLE,
    MigrationConfig,
    actor,
    database_url,
    load_config,
)
from tenant_migration.errors import ConfigurationError, UsageError


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (CONFIG_VARIABLE, ACTOR_VARIABLE, DATABASE_URL_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def written(text: str, name: str = "migration.yaml") -> Path:
    path = Path(name)
    path.write_text(text, encoding="utf-8")
    return path


def refusal(text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_config(written(text))
    assert caught.value.exit_code == 2
    assert "migration.yaml" in str(caught.value)
    return str(caught.value)


EVERYTHING = """
tenant_key_columns: [tenant_id, tenantId]
organization_column: organization_id
organizations: {table: directory.orgs, id: id, parent_id: above, slug: null, name: title}
interface_schema: app
schemas: {include: [app, sales], exclude: [archive]}
defaults:
  batch_size: 500
  batch_target_ms: 200
  batch_rows_max: 10000
  adaptive: false
  on_triggers: guard
  on_existing_value: keep
  fingerprints: journal
  build_index: finalize
  lease_wait_s: 5
  lease_ttl_s: 30
  lock_timeout_ms: 250
  statement_timeout_ms: 10000
  retry_attempts: 3
  quarantine_max_share: 0.5
tables:
  claims:
    tenant_id_column: account
    organization_id_column: org
    batch_size: 10
    dependencies: [sales.orders]
    tenant_required: true
  sales.orders: {exclude: true}
  app.plain:
validation:
  allowed_unmapped_tenants: [system, "00123"]
  severity: {orphans: critical}
  skip: [{check: orphans, table: claims, reason: known since 2019}]
  relations: [{child: claims, columns: [user_id], parent: profiles}]
cache_ttl_seconds: 60
backups: {retention_days: 3, directory: /backups, max_bytes: 1000}
schedule: {verification_cron: "*/30 2-4  * * 1,5"}
"""


def test_without_a_file_everything_has_its_default() -> None:
    config = load_config()
    assert config == MigrationConfig()
    assert config.tenant_key_columns == ["tenant_id"]
    assert config.organization_column == "organization_id"
    assert (config.organizations.table, config.organizations.id) == ("organizations", "id")
    assert config.interface_schema == "public"
    assert (config.defaults.on_triggers, config.defaults.on_existing_value) == ("refuse", "refuse")
    assert config.defaults.batch_size == 1_000
    assert config.cache_ttl_seconds == 300
    assert config.backups.retention_days == 7


def test_the_file_in_the_working_directory_is_read() -> None:
    written("organization_column: org")
    assert load_config().organization_column == "org"


def test_the_environment_names_the_file_over_the_one_in_the_working_directory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written("organization_column: here")
    monkeypatch.setenv(CONFIG_VARIABLE, str(written("organization_column: there", "other.yaml").resolve()))
    assert load_config().organization_column == "there"
    assert load_config(Path("migration.yaml")).organization_column == "here"


def test_a_file_that_is_named_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CONFIG_VARIABLE, "missing.yaml")
    with pytest.raises(ConfigurationError, match=r"missing\.yaml cannot be read: No such file"):
        load_config()


def test_an_empty_file_and_an_empty_table_are_defaults() -> None:
    assert load_config(written("# nothing yet\n")) == MigrationConfig()
    assert load_config(written("tables:\n  claims:\n")).tables["claims"] == configuration.TableConfig()


def test_everything_that_can_be_said_is_read() -> None:
    config = load_config(written(EVERYTHING))
    assert config.tables["claims"].tenant_id_column == "account"
    assert config.tables["sales.orders"].exclude
    assert config.tables["app.plain"] == configuration.TableConfig()
    assert config.organizations.slug is None
    assert config.validation.allowed_unmapped_tenants == ["system", "00123"]
    assert config.validation.skip[0].reason == "known since 2019"
    assert config.schedule.verification_cron == "*/30 2-4 * * 1,5"
    assert config.validation.relations[0].parent == "profiles"
    assert config.backups.directory == Path("/backups")
    assert config.defaults.quarantine_max_share == 0.5


@pytest.mark.parametrize(
    ("cron", "said"),
    [
        ("0 2 * *", "has 4 fields; a cron expression has five"),
        ("0 2 * * * *", "has 6 fields"),
        ("60 2 * * *", "'60' is no minute: give *, a number from 0 to 59"),
        ("0 24 * * *", "'24' is no hour"),
        ("0 2 0 * *", "'0' is no day of the month"),
        ("0 2 * 13 *", "'13' is no month"),
        ("0 2 * * 8", "'8' is no day of the week"),
        ("0 5-2 * * *", "'5-2' is no hour"),
        ("0 */0 * * *", "'*/0' is no hour"),
        ("0 2, * * *", "'' is no hour"),
        ("0 2 31 2,4 *", "names a day that its months do not have"),
        ("@daily", "has 1 fields"),
        ("0 two * * *", "'two' is no hour"),
    ],
)
def test_a_cron_expression_that_dagster_would_not_take_is_refused(cron: str, said: str) -> None:
    message = refusal(f"schedule: {{verification_cron: '{cron}'}}")
    assert "schedule.verification_cron: " in message
    assert said in message


def test_the_file_is_utf_8_whatever_the_locale() -> None:
    assert load_config(written("organization_column: größe_東京")).organization_column == "größe_東京"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("organisation_column: x", "organisation_column: unknown key; did you mean 'organization_column'?"),
        ("defaults: {batchsize: 5}", "defaults.batchsize: unknown key; did you mean 'batch_size'?"),
        (
            "tables: {public.claims: {excluded: true}}",
            "tables.public.claims.excluded: unknown key; did you mean 'exclude'?",
        ),
        (
            "tables: {exclude: {tenant_colum: x}}",
            "tables.exclude.tenant_colum: unknown key; did you mean 'tenant_id_column'?",
        ),
        (
            "validation: {skip: [{chek: x, reason: y}]}",
            "validation.skip.0.chek: unknown key; did you mean 'check'?",
        ),
        ("organizations: {tabel: x}", "organizations.tabel: unknown key; did you mean 'table'?"),
        ("schemas: {includes: [x]}", "schemas.includes: unknown key; did you mean 'include'?"),
        ("schedule: {verification: x}", "unknown key; did you mean 'verification_cron'?"),
        ("pace: {}", "pace: unknown key"),
    ],
)
def test_an_unknown_key_is_answered_with_its_path_and_the_nearest_known_one(text: str, message: str) -> None:
    assert message in refusal(text)


def test_every_known_key_is_found_by_its_nearest_misspelling() -> None:
    """The answer is computed from the models, so no key can be forgotten."""

    def fields(model: type[BaseModel], path: tuple[str, ...]) -> list[tuple[str, ...]]:
        found = []
        for name, field in model.model_fields.items():
            found.append((*path, name))
            inner = configuration._model_in(field.annotation)
            if inner is not None:
                in_collection = str(field.annotation).startswith(("list", "dict"))
                found += fields(inner, (*path, name, *(("0",) if in_collection else ())))
        return found

    every = fields(MigrationConfig, ())
    assert len(every) > 40
    for path in every:
        assert path[-1] in configuration._known_keys(list(path[:-1])), path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("validation: {skip: [{check: orphans}]}", "validation.skip.0.reason: Field required"),
        (
            "validation: {skip: [{check: orphans, reason: '  '}]}",
            "validation.skip.0.reason: String should have at least 1",
        ),
        ("validation: {relations: [{child: a, columns: [], parent: b}]}", "validation.relations.0.columns"),
        (
            "validation: {severity: {orphans: fatal}}",
            "validation.severity.orphans: Input should be 'critical'",
        ),
        ("validation: {allowed_unmapped_tenants: [00123]}", "is a number to YAML; put the text in quotes"),
        ("tenant_key_columns: []", "tenant_key_columns: List should have at least 1 item"),
        ("tenant_key_columns: tenant_id", "tenant_key_columns: Input should be a valid list"),
        ("tenant_key_columns: ['']", "tenant_key_columns.0: String should have at least 1"),
        ("organization_column: ' '", "organization_column: String should have at least 1"),
        ("organization_column: tenant_id", "a column cannot be both what is read and what is written"),
        ("organization_column: 7", "organization_column: 7 is a number to YAML"),
        ("defaults: {batch_size: 0}", "defaults.batch_size: Input should be greater than or equal to 1"),
        (
            "defaults: {batch_size: 1000000}",
            "defaults.batch_size: Input should be less than or equal to 100000",
        ),
        ("defaults: {lock_timeout_ms: 0}", "defaults.lock_timeout_ms"),
        (
            "defaults: {on_triggers: ignore}",
            "defaults.on_triggers: Input should be 'fire', 'guard' or 'refuse'",
        ),
        ("defaults: {lease_wait_s: .nan}", "defaults.lease_wait_s"),
        ("cache_ttl_seconds: .inf", "cache_ttl_seconds: Input should be a finite number"),
        ("cache_ttl_seconds: -1", "cache_ttl_seconds"),
        ("backups: {retention_days: soon}", "backups.retention_days: Input should be a valid integer"),
        ("defaults: 5", "defaults: Input should be a valid dictionary"),
        ("tables: [claims]", "tables: Input should be a valid dictionary"),
        ("- a\n- b", "must be a mapping of keys, not list"),
        ("just text", "must be a mapping of keys, not str"),
        ("a: [", "is not YAML"),
        ("tables: {claims: {exclude: true}, claims: {}}", "the key 'claims' is there twice"),
        ("organization_column: a\norganization_column: b", "the key 'organization_column' is there twice"),
        ("x: !!python/object/apply:os.system ['true']", "is not YAML"),
    ],
)
def test_a_bad_value_is_answered_with_its_path_and_what_is_allowed(text: str, message: str) -> None:
    assert message in refusal(text)


def test_every_mistake_is_listed_at_once() -> None:
    text = refusal("defaults: {batch_size: 0, on_triggers: x}\nnonsense: 1\nvalidation: {skip: [{check: a}]}")
    assert [line.split(":")[0].strip() for line in text.splitlines()[1:]] == [
        "defaults.batch_size",
        "defaults.on_triggers",
        "validation.skip.0.reason",
        "nonsense",
    ]


def test_a_file_that_is_no_text_or_a_folder_is_refused_by_name() -> None:
    Path("migration.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match=r"migration\.yaml is not YAML"):
        load_config()
    Path("folder.yaml").mkdir()
    with pytest.raises(ConfigurationError, match=r"folder\.yaml cannot be read"):
        load_config(Path("folder.yaml"))


def test_anchors_and_merges_of_yaml_work() -> None:
    text = "tables:\n  a: &common {batch_size: 5, tenant_required: true}\n  b: {<<: *common, batch_size: 6}\n"
    tables = load_config(written(text)).tables
    assert (tables["b"].batch_size, tables["b"].tenant_required) == (6, True)


def test_what_was_read_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        MigrationConfig().organization_column = "x"  # type: ignore[misc]


@pytest.mark.parametrize("broken", [{"defaults": {"batch_size": "many"}}, {"tables": {"": {}}}])
def test_the_models_hold_for_programs_too(broken: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        MigrationConfig.model_validate(broken)


def test_the_database_is_what_is_given_else_the_environment_else_a_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(UsageError, match=f"{DATABASE_URL_VARIABLE}.*--quickstart") as caught:
        database_url()
    assert caught.value.exit_code == 2
    monkeypatch.setenv(DATABASE_URL_VARIABLE, "postgresql://from/environment")
    assert database_url() == "postgresql://from/environment"
    assert database_url("postgresql://given") == "postgresql://given"
    monkeypatch.setenv(DATABASE_URL_VARIABLE, "")
    with pytest.raises(UsageError):
        database_url()


def test_the_actor_is_the_environment_s_else_the_operating_system_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "somebody")
    assert actor() == "somebody"
    monkeypatch.setenv(ACTOR_VARIABLE, "the release pipeline")
    assert actor() == "the release pipeline"


def test_a_user_without_a_name_is_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr(configuration.getpass, "getuser", nobody)
    assert actor().startswith("uid ")
