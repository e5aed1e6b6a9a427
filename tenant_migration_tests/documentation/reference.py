"""The reference's generated pages: each a pure function of the code."""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import click
import dagster as dg
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

import tenant_migration
from tenant_migration import config as configuration
from tenant_migration.cli.main import COMMANDS, cli
from tenant_migration.config import MigrationConfig
from tenant_migration.integrity.registry import CHECKS
from tenant_migration.orchestration.build import build_definitions
from tenant_migration_tests.documentation import COMMAND, hazards
from tenant_migration_tests.orchestration.plans import small_plan

_COMMANDS_INTRO = """\
Each is `tenant-migration`, its name, its options. Errors go to stderr. Exit codes: 0 what was printed is
true; 1 the database says no; 2 the input is wrong, and no database was asked; 130 interrupted. Messages and
what to do about them: [troubleshooting](../troubleshooting.md).
"""

_CONFIGURATION_INTRO = """\
The file is the one that `--config` names, else the one that `TENANT_MIGRATION_CONFIG` names, else
`migration.yaml` in the current folder if it is there, else none: then every default below holds. An unknown
key is an error that names the nearest known one; so is a key that is there twice.

A unit is in a name's end: `_ms` milliseconds, `_s` seconds, `_days`, `_bytes`. Bounds are inclusive.
"""

_PYTHON_INTRO = """\
`from tenant_migration import ...`. Every function takes `connection` (a psycopg connection in autocommit
mode, which stays yours) or `database_url`; without both it reads `TENANT_MIGRATION_DATABASE_URL`. `config` is
a `tenant_migration.config.MigrationConfig`; without one the file is found as the commands find it. What goes
wrong is an exception of `tenant_migration.errors`, listed below. These functions know nothing of Dagster; its
`reconcile` sensor shows on the assets what they did. They take no backup first, unlike the command `migrate`:
call `create_all_backups` for one.
"""

_JOBS_INTRO = """\
What a code location with a plan offers. Without a plan there is one job, `discover`. Metadata and checks:
[Dagster metadata](metadata.md). How it is operated: [operations](../operations.md).
"""

_HAZARDS_INTRO = """\
What `tenant-migration plan` says of tables and of the database as a whole. `…` stands for a name or a
number. `REFUSE` keeps the table (or everything) from starting, `WARN` should be read, `INFO` only tells.
Which of two levels depends on the table's settings.
"""

_CHECKS_INTRO = """\
Each check ends `passed`, `failed`, `errored` (it could not run, which counts as not passed) or `skipped`
(with the reason). A failed `critical` check and an errored one block; a `warning` and an `info` do not.
`validation.severity` changes a severity, `validation.skip` takes a check out, with a reason.
"""


def pages() -> dict[str, str]:
    """Return file name -> text of every page that the code says."""
    return {
        "commands.md": _page("Commands", _commands()),
        "configuration.md": _page("Configuration", _configuration()),
        "python.md": _page("Python API", _python()),
        "jobs.md": _page("Dagster: jobs, run configuration, schedules, sensors", _dagster()),
        "checks.md": _page("Checks", _checks()),
        "hazards.md": _page("Hazards", _hazards()),
    }


def _page(title: str, lines: Iterator[str]) -> str:
    note = f"<!-- Written by `{COMMAND}` from the code: change the code, then run it. -->"
    return "\n".join([f"# {title}", "", note, "", *lines]).rstrip("\n") + "\n"


# Commands


def _commands() -> Iterator[str]:
    yield _COMMANDS_INTRO
    context = click.Context(cli, info_name="tenant-migration")
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        yield from _command(name, command)


def _command(name: str, command: click.Command) -> Iterator[str]:
    yield f"## {name}"
    yield ""
    yield _paragraphs(command.help or "")
    yield ""
    rows = [(f"`{_option(p)}`", _option_help(p)) for p in command.params if isinstance(p, click.Option)]
    yield from _table(("option", "meaning"), rows)
    yield ""
    examples = (command.epilog or "").replace("\b\n", "").strip().removeprefix("Examples:\n")
    if examples:
        yield from ("```bash", *(line.strip() for line in examples.splitlines()), "```", "")


def _option(option: click.Option) -> str:
    value = "" if option.is_flag else f" {option.metavar or option.type.name.upper()}"
    return f"{', '.join(option.opts)}{value}"


def _option_help(option: click.Option) -> str:
    text = " ".join((option.help or "").split())
    if option.multiple and "epeat" not in text:
        text += " May be repeated."
    return f"{text} Default: {option.default}." if option.show_default else text


# Configuration


def _configuration() -> Iterator[str]:
    yield _CONFIGURATION_INTRO
    yield from _model("The file", "", MigrationConfig, seen=set())


def _model(title: str, path: str, model: type[BaseModel], seen: set[type[BaseModel]]) -> Iterator[str]:
    if model in seen:
        return
    seen.add(model)
    yield f"## {title}"
    yield ""
    if path:
        yield _paragraphs(model.__doc__ or "")
        yield ""
    yield from _fields(model)
    yield ""
    for name, field in model.model_fields.items():
        inner = _model_in(field.annotation)
        if inner is not None:
            shape = get_origin(field.annotation)
            place = f"{path}{name}" + {dict: '."schema.table"', list: "[]"}.get(shape, "")  # type: ignore[call-overload]
            yield from _model(f"`{place}`", f"{place}.", inner, seen)


def _fields(model: type[BaseModel]) -> Iterator[str]:
    rows = []
    for name, field in model.model_fields.items():
        inner = _model_in(field.annotation)
        kind = "below" if inner is not None else _type(field.annotation) + _bounds(field)
        rows.append(
            (f"`{name}`", kind, "" if inner is not None else _default(field), _meaning(model, name, field))
        )
    yield from _table(("key", "type", "default", "meaning"), rows)


def _meaning(model: type[BaseModel], name: str, field: FieldInfo) -> str:
    if field.description:
        return " ".join(field.description.split())
    inner = _model_in(field.annotation)
    if inner is not None:
        return " ".join((inner.__doc__ or "").split())
    if model is configuration.TableConfig and name in configuration.DefaultsConfig.model_fields:
        return f"As `defaults.{name}`."
    return ""


def _type(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(arguments[0])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(_type(argument) for argument in arguments)
    if origin is list:
        return f"list of {_type(arguments[0])}"
    if origin is dict:
        return f"{_type(arguments[0])}: {_type(arguments[1])}"
    names = {str: "text", int: "whole number", float: "number", bool: "true or false", type(None): "null"}
    return names.get(
        annotation, "path" if annotation is Path else str(getattr(annotation, "__name__", annotation))
    )


_WORDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}


def _bounds(field: FieldInfo) -> str:
    found = [
        f"{word} {getattr(bound, name):,}"
        for bound in field.metadata
        for name, word in _WORDS.items()
        if getattr(bound, name, None) is not None
    ]
    return f", {', '.join(found)}" if found else ""


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return ""
    if isinstance(value, Enum):
        value = value.value
    if value is None:
        return "`null`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, list | tuple):
        return f"`[{', '.join(map(str, value))}]`"
    return f"`{value}`" if value not in ({}, "") else ("`{}`" if value == {} else '`""`')


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for argument in get_args(annotation) if (found := _model_in(argument))), None)


# Python


def _python() -> Iterator[str]:
    yield _PYTHON_INTRO
    for name in sorted(tenant_migration.__all__, key=str.lower):
        thing = getattr(tenant_migration, name)
        yield f"## {name}"
        yield ""
        yield from _signature(name, thing)
        yield from _docstring(thing)
        if inspect.isclass(thing):
            for method_name, method in inspect.getmembers(thing, inspect.isfunction):
                if not method_name.startswith("_"):
                    yield f"### {name}.{method_name}"
                    yield ""
                    yield from _signature(method_name, method)
                    yield from _docstring(method)
    yield "## Exceptions"
    yield ""
    from tenant_migration import errors  # noqa: PLC0415

    found = [
        (f"`{name}`", _first_sentence(thing), str(thing.exit_code))
        for name, thing in vars(errors).items()
        if inspect.isclass(thing) and issubclass(thing, errors.TenantMigrationError)
    ]
    yield from _table(("exception", "meaning", "exit code of a command"), found)


def _signature(name: str, thing: Any) -> Iterator[str]:
    signature = inspect.signature(thing)
    lines = []
    for parameter in signature.parameters.values():
        if parameter.name == "self":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and "    *," not in lines:
            lines.append("    *,")
        default = parameter.default
        shown = "" if default is parameter.empty else f" = {'...' if callable(default) else repr(default)}"
        lines.append(f"    {parameter.name}: {parameter.annotation}{shown},")
    gives = "" if signature.return_annotation in (None, "None") else f" -> {signature.return_annotation}"
    yield from ("```python", f"{name}(", *lines, f"){gives}") if lines else ("```python", f"{name}(){gives}")
    yield from ("```", "")


def _docstring(thing: Any) -> Iterator[str]:
    text = inspect.getdoc(thing) or ""
    lines: list[str] = []
    for line in text.splitlines():
        if line in {"Args:", "Returns:", "Raises:"}:
            lines += [f"{line[:-1]}:", ""]
        elif line.startswith("    ") and not line.startswith("     "):
            lines.append(f"* {line.strip()}")
        else:
            lines.append(line.strip() if line.startswith(" ") else line)
    yield from (*lines, "")


def _first_sentence(thing: Any) -> str:
    return " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())


# Dagster


def _dagster() -> Iterator[str]:
    definitions = build_definitions(small_plan())
    yield _JOBS_INTRO
    yield "## Jobs"
    yield ""
    jobs = [job for job in definitions.resolve_all_job_defs() if not job.name.startswith("__")]
    rows = [
        (
            f"`{job.name}`",
            "tenant" if job.partitions_def is not None else "",
            _line(job.description),
            _fields_of(job),
        )
        for job in sorted(jobs, key=lambda job: job.name)
    ]
    yield from _table(("job", "partitioned by", "what it does", "run configuration"), rows)
    yield ""
    yield "## Run configuration"
    yield ""
    yield "Each is the `config` of an op (`ops: <op>: config: ...`); the launchpad fills in the defaults."
    yield ""
    from tenant_migration.orchestration import config as run_configuration  # noqa: PLC0415

    for name, thing in vars(run_configuration).items():
        if inspect.isclass(thing) and issubclass(thing, dg.Config) and thing is not dg.Config:
            yield f"### {name}"
            yield ""
            yield _paragraphs(thing.__doc__ or "")
            yield ""
            yield from _fields(thing)
            yield ""
    yield "## Schedules"
    yield ""
    yield from _table(
        ("schedule", "job", "when (default)", "what it does"),
        [
            (
                f"`{one.name}`",
                f"`{one.job_name}`",
                f"`{one.cron_schedule}` {one.execution_timezone}",
                _line(one.description),
            )
            for one in sorted(definitions.schedules or (), key=lambda one: one.name)
        ],
    )
    yield ""
    yield "## Sensors"
    yield ""
    yield from _table(
        ("sensor", "every", "at first", "what it does"),
        [
            (
                f"`{one.name}`",
                f"{one.minimum_interval_seconds} s",
                one.default_status.value.lower(),
                _line(one.description),
            )
            for one in sorted(definitions.sensors or (), key=lambda one: one.name)
        ],
    )


def _fields_of(job: dg.JobDefinition) -> str:
    found = set()
    for node in job.nodes:
        schema = node.definition.config_schema.config_type if node.definition.has_config_field else None
        found |= set(getattr(schema, "fields", None) or {})
    return ", ".join(f"`{name}`" for name in sorted(found))


# Checks


def _checks() -> Iterator[str]:
    yield _CHECKS_INTRO
    for phase in ("pre-migration", "post-migration"):
        yield f"## {phase.capitalize()}"
        yield ""
        yield from _table(
            ("check", "of each", "severity", "what is wrong when it fails", "what to do"),
            [
                (
                    f"`{check.name}`",
                    type(check).__name__.removesuffix("Check").lower(),
                    check.severity,
                    check.description,
                    check.recommendation,
                )
                for check in CHECKS
                if check.phase == phase
            ],
        )
        yield ""


# Hazards


def _hazards() -> Iterator[str]:
    yield _HAZARDS_INTRO
    yield from _table(("hazard", "level", "what is there", "way out"), list(hazards.rows()))


# Markdown


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for row in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"


def _paragraphs(text: str) -> str:
    return "\n\n".join(" ".join(part.split()) for part in inspect.cleandoc(text).split("\n\n"))


def _line(text: str | None) -> str:
    return " ".join((text or "").split())
