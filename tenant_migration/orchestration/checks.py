"""The two gates of every table as asset checks: `validation` before writing, `verification` after it.

Belongs here: their specifications and the translation of results. The checks themselves are in `integrity`,
and the gate stands inside the table's own op, so that no selection in the UI goes around it.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field

import dagster as dg

from tenant_migration.integrity.model import CheckResult
from tenant_migration.orchestration import metadata
from tenant_migration.orchestration.compat import TargetMaterialization
from tenant_migration.orchestration.partitions import tenants_partitions
from tenant_migration.workflow.outcome import TableOutcome, describe_blocking

VALIDATION = "validation"
VERIFICATION = "verification"

_DESCRIPTIONS = {
    VALIDATION: "The checks before the migration: nothing is written while one stands against it.",
    VERIFICATION: "The checks after the migration: every row has the organization that the mapping says.",
}


def check_specs(key: dg.AssetKey) -> dict[str, dg.AssetCheckSpec]:
    """Return the two checks of a table, one result for each tenant."""
    with warnings.catch_warnings():
        # Partitioned checks are a preview in this release of Dagster, to which pyproject.toml pins us.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return {
            name: dg.AssetCheckSpec(
                name, asset=key, description=description, blocking=True, partitions_def=tenants_partitions
            )
            for name, description in _DESCRIPTIONS.items()
        }


@dataclass(frozen=True)
class Verdict:
    """What a gate says about one tenant."""

    check_name: str
    passed: bool
    description: str
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR
    metadata: metadata.Metadata = field(default_factory=dict)

    def as_result(self, key: dg.AssetKey) -> dg.AssetCheckResult:
        """Return it as what an asset's op yields."""
        return dg.AssetCheckResult(
            asset_key=key,
            check_name=self.check_name,
            passed=self.passed,
            severity=self.severity,
            description=self.description,
            metadata=self.metadata,
        )

    def as_evaluation(
        self, key: dg.AssetKey, partition: str | None, target: TargetMaterialization | None
    ) -> dg.AssetCheckEvaluation:
        """Return it as an event for another op to report.

        Args:
            key: the asset.
            partition: the tenant's.
            target: the partition's latest materialization, without which the UI shows no status.
        """
        return dg.AssetCheckEvaluation(
            asset_key=key,
            check_name=self.check_name,
            passed=self.passed,
            severity=self.severity,
            description=self.description,
            metadata=self.metadata,
            partition=partition,
            target_materialization_data=target,
            blocking=True,
        )


def verdicts(outcome: TableOutcome, tenant_id: str) -> list[Verdict]:
    """Return what the gates say about one tenant of a table; a gate that was not reached says nothing."""
    state = outcome.tenant_states.get(tenant_id)
    if state == "blocked":
        return []  # the others went on without it
    found = []
    if outcome.before:
        found.append(judge(VALIDATION, outcome.before))
    elif outcome.result is not None:
        found.append(_skipped())
    if outcome.result is not None and state in {"completed", "failed"}:
        verdict = judge(VERIFICATION, checks_on(outcome.after, tenant_id))
        found.append(_failed(outcome) if verdict.passed and state == "failed" else verdict)
    return found


def judge(check_name: str, checks: Sequence[CheckResult]) -> Verdict:
    """Return a gate's verdict: it passed when it ran and nothing stands against the table."""
    blocking = tuple(check for check in checks if check.blocks)
    passed = bool(checks) and not blocking
    described = metadata.of_checks(checks)
    if not passed:
        described |= metadata.check_table(checks)
    return Verdict(
        check_name=check_name,
        passed=passed,
        description=describe_blocking(blocking) or (f"{len(checks)} checks" if checks else "no check ran"),
        metadata=described,
    )


def checks_on(checks: Sequence[CheckResult], tenant_id: str) -> tuple[CheckResult, ...]:
    """Return the checks without the failures that name only other tenants."""
    return tuple(check for check in checks if not check.blocks or _concerns(check, tenant_id))


def _concerns(check: CheckResult, tenant_id: str) -> bool:
    if check.tenant_id is not None:
        return check.tenant_id == tenant_id
    named = check.details.get("tenants")
    return not named or tenant_id in named


def _skipped() -> Verdict:
    return Verdict(
        check_name=VALIDATION,
        passed=False,
        severity=dg.AssetCheckSeverity.WARN,
        description="not run: the run was told to skip the validation",
    )


def _failed(outcome: TableOutcome) -> Verdict:
    """Return the verdict on a tenant that failed and that no check names: rows remain, or are quarantined."""
    return Verdict(
        check_name=VERIFICATION,
        passed=False,
        description=outcome.reason or "the migration of this tenant failed",
        metadata=metadata.of_checks(outcome.after) | metadata.check_table(outcome.after),
    )
