"""The configuration decides what is allowed, skipped and how bad; misspelt names are refused."""

from __future__ import annotations

import pytest

from tenant_migration.config import MigrationConfig
from tenant_migration.errors import ConfigurationError, UnknownTable
from tenant_migration.integrity.model import Outcome
from tenant_migration.integrity.report import build_report
from tenant_migration.planning.builder import build_plan
from tenant_migration_tests.integrity.world import World, failed, one

_GHOST = "INSERT INTO claims VALUES (1, 'ghost', NULL, NULL, '')"


def test_a_tenant_that_is_allowed_may_have_no_mapping(before: World) -> None:
    before.execute(_GHOST)
    assert failed(before.check("pre-migration")) == {"tenants_have_mapping"}
    config = before.with_validation(allowed_unmapped_tenants=["system", "ghost"])
    assert failed(before.check("pre-migration", config=config)) == set()


def test_an_allowed_tenant_that_is_no_key_of_a_table_allows_nobody_else_there(before: World) -> None:
    """'system' is neither uuid nor integer; tenants of those tables without a mapping are still found."""
    before.execute("INSERT INTO ledger VALUES (999, 'nobody', '{}')")
    before.execute("INSERT INTO app.\"Line%Items\" VALUES (1, 'p', gen_random_uuid(), 1)")
    found = [r.table for r in before.check("pre-migration") if r.outcome is Outcome.FAILED]
    assert sorted(map(str, found)) == ["app.Line%Items", "public.ledger"]


def test_an_allowed_uuid_is_known_in_any_spelling(before: World) -> None:
    before.execute(
        "INSERT INTO app.\"Line%Items\" VALUES (1, 'p', '6f1b5e0a-0000-4000-8000-0000000000ff', 1)"
    )
    config = before.with_validation(
        allowed_unmapped_tenants=["system", "{6F1B5E0A-0000-4000-8000-0000000000FF}"]
    )
    assert failed(before.check("pre-migration", config=config)) == set()


def test_severity_is_what_the_configuration_says(before: World) -> None:
    before.execute(_GHOST)
    config = before.with_validation(severity={"tenants_have_mapping": "info"})
    results = before.check("pre-migration", config=config)
    result = one(results, "tenants_have_mapping", "public.claims")
    assert (result.outcome, result.severity, result.blocks) == (Outcome.FAILED, "info", False)
    assert build_report(results, "pre-migration")["status"] == "pass"


@pytest.mark.parametrize(("required", "severity"), [(False, "warning"), (True, "critical")])
def test_a_missing_tenant_is_critical_where_one_is_required(
    before: World, required: bool, severity: str
) -> None:
    before.execute("UPDATE claims SET tenant_id = NULL WHERE id = 101")
    config = MigrationConfig.model_validate(
        {**before.settings, "tables": {"claims": {"tenant_required": required}}}
    )
    plan = build_plan(before.connection, config, count_rows=False)
    result = one(before.check("pre-migration", config=config, plan=plan), "null_tenant_keys", "public.claims")
    assert (result.outcome, result.severity) == (Outcome.FAILED, severity)


@pytest.mark.parametrize(
    ("on_existing_value", "severity"), [("refuse", "critical"), ("keep", "warning"), ("overwrite", "warning")]
)
def test_an_existing_value_is_critical_until_somebody_decided(
    before: World, on_existing_value: str, severity: str
) -> None:
    before.execute(
        "ALTER TABLE claims ADD organization_id uuid; "
        "UPDATE claims SET organization_id = gen_random_uuid() WHERE id = 101"
    )
    tables = {"claims": {"on_existing_value": on_existing_value}}
    config = MigrationConfig.model_validate({**before.settings, "tables": tables})
    plan = build_plan(before.connection, config, count_rows=False)
    results = before.check("pre-migration", config=config, plan=plan)
    result = one(results, "existing_values_disagree", "public.claims")
    assert (result.outcome, result.severity) == (Outcome.FAILED, severity)
    lenient = config.model_copy(
        update={"validation": config.validation.model_copy(update={"severity": {result.name: "info"}})}
    )
    results = before.check("pre-migration", config=lenient, plan=plan)
    assert one(results, "existing_values_disagree", "public.claims").severity == "info"


def test_a_skipped_check_says_why_and_the_others_run(before: World) -> None:
    before.execute(_GHOST)
    before.execute("INSERT INTO profiles VALUES (1, 'ghost', 'g@example.org')")
    skip = {"check": "tenants_have_mapping", "table": "claims", "reason": "imported next week"}
    results = before.check("pre-migration", config=before.with_validation(skip=[skip]))
    claims = one(results, "tenants_have_mapping", "public.claims")
    assert (claims.outcome, claims.reason) == (Outcome.SKIPPED, "by configuration: imported next week")
    assert one(results, "tenants_have_mapping", "public.profiles").outcome is Outcome.FAILED
    everywhere = before.with_validation(skip=[{"check": "tenants_have_mapping", "reason": "no"}])
    results = before.check("pre-migration", config=everywhere)
    assert {r.outcome for r in results if r.name == "tenants_have_mapping"} == {Outcome.SKIPPED}
    assert failed(results) == set()


@pytest.mark.parametrize(
    ("validation", "message"),
    [
        (
            {"severity": {"orphan": "info"}},
            "validation.severity: there is no check 'orphan'; did you mean 'orphans'?",
        ),
        (
            {"skip": [{"check": "nul_tenant_keys", "reason": "x"}]},
            "validation.skip[0].check: there is no check 'nul_tenant_keys'; did you mean 'null_tenant_keys'?",
        ),
        (
            {"skip": [{"check": "orphans", "table": "public.claimz", "reason": "x"}]},
            "validation.skip[0].table: there is no table 'public.claimz'; did you mean 'public.claims'?",
        ),
    ],
)
def test_a_misspelt_name_is_refused_naming_the_nearest(
    before: World, validation: dict[str, object], message: str
) -> None:
    for phase in ("pre-migration", "post-migration"):
        with pytest.raises(ConfigurationError) as refused:
            before.check(phase, config=before.with_validation(**validation))  # type: ignore[arg-type]
        assert str(refused.value) == message


def test_names_that_are_asked_for_must_exist(before: World) -> None:
    with pytest.raises(UnknownTable, match=r"no managed table claimz; did you mean public\.claims\?"):
        before.check("pre-migration", tables=["claimz"])
    with pytest.raises(ConfigurationError, match="there is no check 'orphan'; did you mean 'orphans'"):
        before.check("pre-migration", only=["orphan"])


def test_only_some_checks_are_asked(before: World) -> None:
    results = before.check("pre-migration", only=["tenants_have_mapping"])
    assert {result.name for result in results} == {"tenants_have_mapping"}
    assert len(results) == len(before.plan.tables)
