"""The definitions: built from a plan alone, and what they contain."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from tenant_migration.config import CONFIG_VARIABLE, DAGSTER_URL_VARIABLE, DATABASE_URL_VARIABLE
from tenant_migration.errors import ConfigurationError
from tenant_migration.orchestration import config as run_configuration
from tenant_migration.orchestration import plan_file
from tenant_migration.orchestration.build import build_definitions
from tenant_migration.orchestration.definitions import defs
from tenant_migration.planning.model import Plan
from tenant_migration_tests.orchestration.plans import plan, small_plan, table

REPOSITORY = Path(__file__).parents[2]
JOBS = [
    "backup",
    "backup_all",
    "backup_cleanup",
    "discover",
    "dry_run",
    "emergency_rollback",
    "migrate",
    "migrate_all",
    "rollback",
    "rollback_all",
    "validate",
    "validate_all",
    "verify",
    "verify_all",
]


def job_names(definitions: dg.Definitions) -> list[str]:
    jobs = definitions.get_repository_def().get_all_jobs()
    return sorted(job.name for job in jobs if not job.name.startswith("__"))


def edges(definitions: dg.Definitions) -> dict[str, list[str]]:
    graph = definitions.resolve_asset_graph()
    return {
        key.to_user_string(): sorted(parent.to_user_string() for parent in graph.get(key).parent_keys)
        for key in graph.get_all_asset_keys()
    }


def test_without_a_plan_there_is_one_job_that_says_what_to_do() -> None:
    definitions = build_definitions(None)
    dg.Definitions.validate_loadable(definitions)
    assert job_names(definitions) == ["discover"]
    assert "no plan yet" in (definitions.resolve_job_def("discover").description or "")
    assert edges(definitions) == {}


def test_a_plan_without_tables_is_as_no_plan() -> None:
    definitions = build_definitions(plan())
    dg.Definitions.validate_loadable(definitions)
    assert job_names(definitions) == ["discover"]


def test_the_assets_are_the_tables_with_their_parents() -> None:
    given = ["public/organizations", "public/tenant_org_mappings"]
    assert edges(build_definitions(small_plan())) == {
        "public/organizations": [],
        "public/tenant_org_mappings": ["public/organizations"],
        "public/profiles": given,
        "public/claims": sorted([*given, "public/profiles"]),
        "public/teams": sorted([*given, "public/claims"]),
        "public/members": sorted([*given, "public/claims"]),
    }


def test_a_circle_has_no_edge_and_says_so() -> None:
    graph = build_definitions(small_plan()).resolve_asset_graph()
    teams = graph.get(dg.AssetKey(["public", "teams"]))
    members = graph.get(dg.AssetKey(["public", "members"]))
    assert members.key not in teams.parent_keys
    assert teams.key not in members.parent_keys
    assert "Refers in a circle to `public.members`" in (teams.description or "")
    assert teams.tags["tenant_migration/component"] == members.tags["tenant_migration/component"] == "2"


def test_a_table_is_described_by_its_plan() -> None:
    claims = build_definitions(small_plan()).resolve_asset_graph().get(dg.AssetKey(["public", "claims"]))
    assert "no index leads with tenant_id; create one" in (claims.description or "")
    assert claims.group_name == "public"
    assert claims.kinds == {"postgresql", "table"}
    assert claims.owners == ["team:tenant-migration"]
    assert claims.tags["tenant_migration/hazards"] == "warn"
    assert claims.tags["tenant_migration/strategy"] == "hot_waves"
    assert claims.metadata["dagster/table_name"].value == "app.public.claims"
    lineage = claims.metadata["dagster/column_lineage"].value.deps_by_column["organization_id"]
    assert {(dep.asset_key.path[-1], dep.column_name) for dep in lineage} == {
        ("tenant_org_mappings", "tenant_id"),
        ("tenant_org_mappings", "organization_id"),
    }
    assert claims.partitions_def == dg.DynamicPartitionsDefinition(name="tenants")


def test_every_table_has_both_gates_by_tenant_and_the_mappings_one_for_all() -> None:
    graph = build_definitions(small_plan()).resolve_asset_graph()
    checks = {key.to_user_string(): graph.get(key).partitions_def for key in graph.asset_check_keys}
    tenants = dg.DynamicPartitionsDefinition(name="tenants")
    names = ["profiles", "claims", "teams", "members"]
    assert checks == {
        **{
            f"public/tenant_org_mappings:{check}": None
            for check in ("mapping_complete", "validation", "verification")
        },
        **{f"public/{name}:{check}": tenants for name in names for check in ("validation", "verification")},
    }


def test_the_jobs_and_which_of_them_are_by_tenant() -> None:
    definitions = build_definitions(small_plan())
    assert job_names(definitions) == JOBS
    by_tenant = {name: definitions.resolve_job_def(name).partitions_def is not None for name in JOBS}
    one_tenant = {"backup", "dry_run", "migrate", "rollback", "validate", "verify"}
    assert by_tenant == {name: name in one_tenant for name in JOBS}


def test_the_ops_of_migrate_all_are_wired_like_the_assets() -> None:
    graph = build_definitions(small_plan()).resolve_job_def("migrate_all").graph
    dependencies = {
        invocation.name: sorted(
            node.node for given in inputs.values() for node in given.get_node_dependencies()
        )
        for invocation, inputs in graph.dependencies.items()
    }
    assert dependencies == {
        "start": [],
        "migrate__public__profiles": ["start"],
        "migrate__public__claims": ["migrate__public__profiles", "start"],
        "migrate__public__teams": ["migrate__public__claims", "start"],
        "migrate__public__members": ["migrate__public__claims", "start"],
        "finish": sorted(
            ["start", *(f"migrate__public__{t}" for t in ("profiles", "claims", "teams", "members"))]
        ),
    }


NIGHTLY = {"backup_cleanup_nightly": "backup_cleanup", "verification_nightly": "verify_all"}


@pytest.mark.parametrize("name", NIGHTLY)
def test_what_runs_every_night_is_off_until_somebody_turns_it_on(name: str) -> None:
    schedules = build_definitions(small_plan()).get_repository_def().schedule_defs
    assert {schedule.name: schedule.job_name for schedule in schedules} == NIGHTLY
    [schedule] = [schedule for schedule in schedules if schedule.name == name]
    assert schedule.default_status is dg.DefaultScheduleStatus.STOPPED
    assert "off until somebody turns it on" in (schedule.description or "")
    run = schedule.evaluate_tick(dg.build_schedule_context()).run_requests
    assert run is not None
    assert [dict(request.run_config) for request in run] == [{}]  # what to do is the configuration file's


@pytest.mark.parametrize(
    ("text", "cron"),
    [("schedule: {verification_cron: '15 4 * * 0'}", "15 4 * * 0"), ("schedule: {cron: '1'}", "0 2 * * *")],
    ids=["given", "a mistake keeps nothing out of the UI"],
)
def test_when_to_verify_is_read_as_the_definitions_load(
    text: str, cron: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "migration.yaml"
    file.write_text(text, encoding="utf-8")
    monkeypatch.setenv(CONFIG_VARIABLE, str(file))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    plan_file.write(small_plan())
    schedules = defs().get_repository_def().schedule_defs
    assert {s.name: s.cron_schedule for s in schedules}["verification_nightly"] == cron


def test_without_a_plan_there_is_no_schedule() -> None:
    assert build_definitions(None).get_repository_def().schedule_defs == []


def test_the_ops_of_rollback_all_are_wired_against_the_assets() -> None:
    graph = build_definitions(small_plan()).resolve_job_def("rollback_all").graph
    dependencies = {
        invocation.name.removeprefix("roll_back__public__"): {
            node.node.removeprefix("roll_back__public__")
            for given in inputs.values()
            for node in given.get_node_dependencies()
        }
        for invocation, inputs in graph.dependencies.items()
    }
    assert dependencies == {
        "start_rollback": set(),
        "members": {"start_rollback"},
        "teams": {"start_rollback"},
        "claims": {"start_rollback", "members", "teams"},
        "profiles": {"start_rollback", "claims"},
        "finish_rollback": {"start_rollback", "members", "teams", "claims", "profiles"},
    }


CONFIGURATIONS = [
    model
    for model in vars(run_configuration).values()
    if isinstance(model, type) and issubclass(model, dg.Config) and model is not dg.Config
]
DELIBERATE = {("RollbackAllConfig", "confirm")}
"""What nobody may leave to a default."""


@pytest.mark.parametrize("model", CONFIGURATIONS)
def test_every_field_of_the_run_configuration_has_a_default_and_a_description(model: type[dg.Config]) -> None:
    assert model.model_fields
    for name, field in model.model_fields.items():
        assert field.description, name
        assert field.is_required() == ((model.__name__, name) in DELIBERATE), name


@pytest.mark.parametrize("name", [name for name in JOBS if name != "rollback_all"])
def test_every_job_starts_with_an_empty_run_configuration(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DATABASE_URL_VARIABLE, "postgresql://nowhere/app")
    job = build_definitions(small_plan()).resolve_job_def(name)
    assert dg.validate_run_config(job, {})


@pytest.mark.parametrize("bad", [{"tabels": []}, {"dry_run": "maybe"}, {"tables": [1]}])
def test_a_run_configuration_with_a_mistake_is_refused(
    bad: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DATABASE_URL_VARIABLE, "postgresql://nowhere/app")
    job = build_definitions(small_plan()).resolve_job_def("migrate_all")
    with pytest.raises(dg.DagsterInvalidConfigError):
        dg.validate_run_config(job, {"ops": {"start": {"config": bad}}})


@pytest.mark.parametrize("name", ["Mixed", "two words", "we/ird", 'q"uote', "Größe", "a__b", "a.b"])
def test_a_table_of_any_name_becomes_an_asset_of_that_name(name: str) -> None:
    definitions = build_definitions(plan(table(name), table("other", depends_on=[f"public.{name}"])))
    dg.Definitions.validate_loadable(definitions)
    graph = definitions.resolve_asset_graph()
    assert dg.AssetKey(["public", name]) in graph.get(dg.AssetKey(["public", "other"])).parent_keys
    assert definitions.resolve_job_def("migrate").asset_layer is not None


def test_names_that_look_alike_stay_apart() -> None:
    definitions = build_definitions(
        plan(table("c", schema="a__b"), table("b__c", schema="a"), table("x y"), table("x_y"), table("x-y"))
    )
    dg.Definitions.validate_loadable(definitions)
    ops = definitions.resolve_job_def("migrate").graph.node_names()
    assert len(set(ops)) == 5


def test_organizations_that_are_managed_themselves_make_no_circle() -> None:
    definitions = build_definitions(plan(table("organizations"), interface_schema="my app"))
    dg.Definitions.validate_loadable(definitions)
    assert edges(definitions) == {
        "my app/tenant_org_mappings": [],
        "public/organizations": ["my app/tenant_org_mappings"],
    }


def test_the_plan_file_comes_back_and_is_replaced_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    assert plan_file.read() is None
    plan_file.write(plan(table("first")))
    path = plan_file.write(small_plan())
    assert plan_file.read() == small_plan()
    assert [file.name for file in path.parent.iterdir()] == ["plan.json"]


@pytest.mark.parametrize("text", ["{", "[]", '{"tables": 1}', "\xff"])
def test_a_file_that_is_no_plan_says_what_to_do(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    (tmp_path / "plan.json").write_text(text, encoding="latin-1")
    with pytest.raises(ConfigurationError, match=r"plan\.json"):
        plan_file.read()


def clean_environment(home: Path) -> dict[str, str]:
    removed = {DATABASE_URL_VARIABLE, DAGSTER_URL_VARIABLE, "PYTHONPATH"}
    return {**{k: v for k, v in os.environ.items() if k not in removed}, "DAGSTER_HOME": str(home)}


@pytest.mark.parametrize("given", [None, small_plan()], ids=["without_plan", "with_plan"])
def test_they_load_in_a_fresh_interpreter_without_database_and_storage(
    given: Plan | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    if given is not None:
        plan_file.write(given)
    program = (
        "import json, socket, sys\n"
        "def refuse(*_): raise AssertionError('a connection while the definitions load')\n"
        "socket.socket.connect = refuse\n"
        "from tenant_migration.orchestration.definitions import defs\n"
        "loaded = defs() if callable(defs) else defs.load_fn()\n"
        "repository = loaded.get_repository_def()\n"
        "names = [j.name for j in repository.get_all_jobs() if not j.name.startswith('__')]\n"
        "print(json.dumps(sorted(names)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=REPOSITORY,
        env=clean_environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == (JOBS if given else ["discover"])
    assert [file.name for file in tmp_path.iterdir()] == (["plan.json"] if given else [])


@pytest.mark.parametrize(
    ("workspace", "given"),
    [(["-w", "workspace.yaml"], small_plan()), ([], None)],
    ids=["workspace_yaml-with_plan", "tool_dg-without_plan"],
)
def test_dagster_definitions_validate_passes_from_the_repository_root(
    workspace: list[str], given: Plan | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    if given is not None:
        plan_file.write(given)
    done = subprocess.run(
        [sys.executable, "-m", "dagster", "definitions", "validate", *workspace],
        cwd=REPOSITORY,
        env=clean_environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert "Validation successful for code location tenant_migration" in done.stdout
