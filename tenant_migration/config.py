"""The configuration file `migration.yaml`: what it may say, with defaults, units and bounds.

Belongs here: the models and their loading. What a setting means to the database is decided where it is used.
Every default is the safe choice. Unknown keys are an error that names the nearest known one.
"""

from __future__ import annotations

import difflib
import getpass
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from tenant_migration.errors import ConfigurationError, UsageError

DATABASE_URL_VARIABLE = "TENANT_MIGRATION_DATABASE_URL"
CONFIG_VARIABLE = "TENANT_MIGRATION_CONFIG"
ACTOR_VARIABLE = "TENANT_MIGRATION_ACTOR"
DAGSTER_URL_VARIABLE = "TENANT_MIGRATION_DAGSTER_URL"
DEFAULT_CONFIG_FILE = "migration.yaml"

OnTriggers = Literal["fire", "guard", "refuse"]
OnExistingValue = Literal["refuse", "keep", "overwrite"]
Fingerprints = Literal["off", "journal"]
BuildIndex = Literal["after_data", "early", "finalize"]
Severity = Literal["critical", "warning", "info"]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
"""Not empty, also without the blanks around it."""


_CRON_FIELDS = (
    ("minute", 0, 59),
    ("hour", 0, 23),
    ("day of the month", 1, 31),
    ("month", 1, 12),
    ("day of the week", 0, 7),
)
_CRON_PART = re.compile(r"(?:\*|(\d{1,2})(?:-(\d{1,2}))?)(?:/([1-9]\d?))?", re.ASCII)
_DAYS_MOST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
"""Of each month."""


def checked_cron(text: str) -> str:
    """Return a cron expression that Dagster takes, with one blank between its fields.

    Raises:
        ValueError: naming the field.
    """
    fields = text.split()
    if len(fields) != len(_CRON_FIELDS):
        raise ValueError(
            f"{text!r} has {len(fields)} fields; a cron expression has five, such as '0 2 * * *'"
        )
    values = [_cron_values(field, *of) for field, of in zip(fields, _CRON_FIELDS, strict=True)]
    days, months = values[2:4]
    if not any(min(days) <= _DAYS_MOST[month - 1] for month in months):
        raise ValueError(f"{text!r} names a day that its months do not have")
    return " ".join(fields)


def _cron_values(field: str, name: str, least: int, most: int) -> set[int]:
    values: set[int] = set()
    for part in field.split(","):
        found = _CRON_PART.fullmatch(part)
        if found:
            first = int(found[1] or least)
            last = int(found[2] or (found[1] if found[1] and not found[3] else most))
            if least <= first <= last <= most:
                values.update(range(first, last + 1, int(found[3] or 1)))
                continue
        raise ValueError(
            f"{part!r} is no {name}: give *, a number from {least} to {most}, a range such as "
            f"{least}-{most}, a step such as */2, or several with commas"
        )
    return values


class _Strict(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False, validate_default=True
    )


class OrganizationsConfig(_Strict):
    """Where the organizations are."""

    table: Text = "organizations"
    """Table of the organizations, `name` or `schema.name`; without a schema, the interface schema."""
    id: Text = "id"
    """Its key column, of type uuid."""
    parent_id: Text = "parent_id"
    """Column that names the parent organization."""
    slug: Text | None = "slug"
    """Column compared by `mappings --suggest`; null when there is none."""
    name: Text | None = "name"
    """Column compared by `mappings --suggest`; null when there is none."""
    active: Text | None = None
    """Column of type boolean that says whether the organization is active; null when there is none."""


class SchemasConfig(_Strict):
    """In which schemas tables are looked for."""

    include: list[Text] = Field(default_factory=list)
    """Only these; empty: all but PostgreSQL's and the tool's own."""
    exclude: list[Text] = Field(default_factory=list)
    """Never these."""


class DefaultsConfig(_Strict):
    """What holds for every table unless it says otherwise."""

    batch_size: int = Field(1_000, ge=1, le=100_000)
    """Rows of the first batch; with `adaptive: false` of every batch."""
    batch_target_ms: int = Field(100, ge=10, le=60_000)
    """Milliseconds that a batch aims at (P7: 100 ms is where the application does not notice)."""
    batch_rows_max: int = Field(50_000, ge=1, le=1_000_000)
    """No batch is larger, however fast."""
    adaptive: bool = True
    """Whether batches change size by their time."""
    on_triggers: OnTriggers = "refuse"
    """A trigger that would change other columns or write elsewhere: let it fire, demand a guard, refuse."""
    on_existing_value: OnExistingValue = "refuse"
    """A row whose organization differs from the mapping: refuse to start, keep it, or overwrite it."""
    fingerprints: Fingerprints = "off"
    """`journal` adds a hash of the preserved columns beside each key."""
    claim_trigger: bool = True
    """Whether a trigger records that the application wrote the organization of a migrated row itself: with it
    a rollback is exact also where the application wrote the same value again."""
    build_index: BuildIndex = "after_data"
    """When the index and the foreign key on the organization column are built."""
    lease_wait_s: float = Field(45.0, ge=0, le=3_600)
    """Seconds to wait for another run that works on the same table and tenant."""
    lease_ttl_s: float = Field(30.0, ge=5, le=3_600)
    """Seconds after which a run that gives no sign of life loses its lease."""
    lock_timeout_ms: int = Field(500, ge=10, le=60_000)
    """Milliseconds that any statement waits for a lock before it gives up and is tried again."""
    statement_timeout_ms: int = Field(30_000, ge=100, le=3_600_000)
    """Milliseconds after which a batch is cancelled and halved."""
    retry_attempts: int = Field(10, ge=1, le=1_000)
    """Attempts of one batch, of one DDL statement, before the table fails."""
    quarantine_max_share: float = Field(0.01, ge=0, le=1)
    """Share of a table's rows that may be quarantined before the table stops."""


class TableConfig(_Strict):
    """One table; what is left out comes from `defaults`."""

    tenant_id_column: Text | None = None
    """Its tenant key, where the name differs from `tenant_key_columns`."""
    organization_id_column: Text | None = None
    """Its organization column, where the name differs from `organization_column`."""
    batch_size: int | None = Field(None, ge=1, le=100_000)
    """Rows of the first batch."""
    dependencies: list[Text] = Field(default_factory=list)
    """Tables that must be migrated first, beyond those that foreign keys name."""
    exclude: bool = False
    """Leave the table alone."""
    tenant_required: bool = False
    """Whether a row without a tenant is critical instead of a warning."""
    batch_target_ms: int | None = Field(None, ge=10, le=60_000)
    adaptive: bool | None = None
    on_triggers: OnTriggers | None = None
    on_existing_value: OnExistingValue | None = None
    fingerprints: Fingerprints | None = None
    claim_trigger: bool | None = None
    build_index: BuildIndex | None = None


class SkipConfig(_Strict):
    """A check that shall not run, and why."""

    check: Text
    table: Text | None = None
    """`schema.name` or `name`; null: the check shall not run on any table."""
    reason: Text


class RelationConfig(_Strict):
    """A reference that the database does not declare as a foreign key."""

    child: Text
    """Table that refers, `schema.name` or `name`."""
    columns: list[Text] = Field(min_length=1)
    """Its columns, in the order of the parent's key."""
    parent: Text
    """Table that is referred to by its primary key."""


class ValidationConfig(_Strict):
    """What the checks allow."""

    allowed_unmapped_tenants: list[str] = Field(default_factory=list)
    """Tenants that may own rows without having a mapping (a system tenant); never migrated."""
    severity: dict[str, Severity] = Field(default_factory=dict)
    """Check name -> severity, where it differs from the registry."""
    skip: list[SkipConfig] = Field(default_factory=list)
    relations: list[RelationConfig] = Field(default_factory=list)
    statement_timeout_ms: int = Field(3_600_000, ge=10, le=86_400_000)
    """Milliseconds that a check may take; one that takes longer counts as errored, never as passed."""


class BackupsConfig(_Strict):
    """Backups: where they go and how long they stay."""

    retention_days: int = Field(7, ge=0)
    """Days for which `backup --cleanup` keeps every backup, when it is not told otherwise."""
    directory: Path | None = None
    """Folder to which every backup is exported too, as files with checksums."""
    max_bytes: int | None = Field(None, ge=0)
    """Bytes that all backups together may take in the database; a backup that would exceed it is refused."""
    free_bytes_command: list[Text] | None = Field(None, min_length=1)
    """Command that prints how many bytes are free where the server keeps its data, where we cannot look."""


class ScheduleConfig(_Strict):
    """When Dagster's schedules start; each is off until somebody turns it on in the UI."""

    verification_cron: Text = "0 2 * * *"
    """When `verification_nightly` verifies what is migrated: minute, hour, day of the month, month and day of
    the week, in UTC."""

    @field_validator("verification_cron")
    @classmethod
    def _is_cron(cls, value: str) -> str:
        return checked_cron(value)


class MigrationConfig(_Strict):
    """The whole file."""

    tenant_key_columns: list[Text] = Field(default_factory=lambda: ["tenant_id"], min_length=1)
    """Names of the legacy key column, exactly as in the catalog (case counts)."""
    organization_column: Text = "organization_id"
    """Name of the column to fill."""
    organizations: OrganizationsConfig = OrganizationsConfig()
    interface_schema: Text = "public"
    """Schema of `tenant_org_mappings`, `migration_audit_log` and the three functions."""
    schemas: SchemasConfig = SchemasConfig()
    defaults: DefaultsConfig = DefaultsConfig()
    tables: dict[Text, TableConfig] = Field(default_factory=dict)
    """Keyed `schema.table`; without a schema, the interface schema."""
    validation: ValidationConfig = ValidationConfig()
    cache_ttl_seconds: float = Field(300.0, ge=0)
    """Seconds that the mapper's cache holds a mapping."""
    backups: BackupsConfig = BackupsConfig()
    schedule: ScheduleConfig = ScheduleConfig()

    @field_validator("tables", mode="before")
    @classmethod
    def _empty_table_is_default(cls, value: Any) -> Any:
        return {k: ({} if v is None else v) for k, v in value.items()} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _columns_do_not_meet(self) -> MigrationConfig:
        if self.organization_column in self.tenant_key_columns:
            raise ValueError(
                f"organization_column {self.organization_column!r} is one of tenant_key_columns too: "
                "a column cannot be both what is read and what is written"
            )
        return self


def load_config(path: Path | None = None) -> MigrationConfig:
    """Read the configuration.

    Args:
        path: the file; None: `TENANT_MIGRATION_CONFIG`, else `migration.yaml` if it is there, else defaults.

    Raises:
        ConfigurationError: the file is missing, is no YAML, or has an unknown or bad key; every problem is
            listed with its path and, for an unknown key, the nearest known one.
    """
    if path is None:
        named = os.environ.get(CONFIG_VARIABLE)
        path = Path(named) if named else Path(DEFAULT_CONFIG_FILE)
        if not named and not path.exists():
            return MigrationConfig()
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeys)  # noqa: S506 - a SafeLoader
    except OSError as error:
        raise ConfigurationError(f"configuration file {path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"configuration file {path} is not YAML: {error}") from error
    if raw is None:
        return MigrationConfig()
    if not isinstance(raw, dict):
        raise ConfigurationError(
            f"configuration file {path} must be a mapping of keys, not {type(raw).__name__}"
        )
    try:
        return MigrationConfig.model_validate(raw)
    except ValidationError as error:
        problems = "\n".join(f"  {_describe(problem)}" for problem in error.errors())
        raise ConfigurationError(f"configuration file {path} is wrong:\n{problems}") from error


class _UniqueKeys(yaml.SafeLoader):
    """Reads YAML, but does not let a key that is there twice win silently over the first one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value!r} is there twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def _describe(problem: Any) -> str:
    location = [str(part) for part in problem["loc"]]
    where = ".".join(location) or "the file"
    if problem["type"] == "extra_forbidden":
        nearest = difflib.get_close_matches(location[-1], _known_keys(location[:-1]), n=1, cutoff=0.0)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        return f"{where}: unknown key{hint}"
    if problem["type"] == "string_type" and isinstance(problem["input"], int | float):
        return f"{where}: {problem['input']!r} is a number to YAML; put the text in quotes"
    message = str(problem["msg"]).removeprefix("Value error, ")
    return f"{where}: {message}"


def _known_keys(location: list[str]) -> list[str]:
    """Return the keys that the model at `location` knows, walking through lists and dictionaries."""
    model: type[BaseModel] | None = MigrationConfig
    in_collection = False
    for part in location:
        if in_collection:  # a list's index, or the name of a table: the model stays the value's
            in_collection = False
            continue
        if model is None or part not in model.model_fields:
            return []
        annotation = model.model_fields[part].annotation
        in_collection = get_origin(annotation) in (list, dict)
        model = _model_in(annotation)
    return sorted(model.model_fields) if model else []


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for arg in get_args(annotation) if (found := _model_in(arg))), None)


def database_url(explicit: str | None = None) -> str:
    """Return the libpq URI of the database to migrate.

    Raises:
        UsageError: neither given nor in the environment.
    """
    url = (explicit or os.environ.get(DATABASE_URL_VARIABLE) or "").strip()
    if not url:
        raise UsageError(
            f"no database: set {DATABASE_URL_VARIABLE} to its libpq URI, "
            "or give --quickstart to use the embedded sample"
        )
    return url


def actor() -> str:
    """Return who acts, for the audit log: `TENANT_MIGRATION_ACTOR`, else the user of the operating system."""
    named = os.environ.get(ACTOR_VARIABLE)
    if named:
        return named
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without an entry in the password file
        return f"uid {os.getuid()}"
