"""The two gates of every table as asset checks: `validation` before writing, `verification` after it.

Belongs here: their specifications and the translation of results. The checks themselves are in `integrity`,
and the gate stands inside the table's own op, so that no selection in the UI goes around it.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import dagster as dg

from tenant_migration.integrity.model import CheckResult, Outcome
from tenant_migration.orchestration.check_metadata import of_checks
from tenant_migration.orchestration.compat import TargetMaterialization
from tenant_migration.orchestration.metadata import Metadata
from tenant_migration.orchestration.partitions import tenants_partitions
from tenant_migration.planning.counted import counted
from tenant_migration.workflow.outcome import TableOutcome, describe_blocking

VALIDATION = "validation"
VERIFICATION = "verification"

_DESCRIPTIONS = {
    VALIDATION: "The checks before the migration: nothing is written while one stands against it.",
    VERIFICATION: "The checks after the migration: every row has the organization that the mapping says.",
}
DATABASE_DESCRIPTIONS = {
    VALIDATION: "The checks before the migration that look at the database as a whole: the mappings, the "
    "organizations and their hierarchy.",
    VERIFICATION: "The checks after the migration that look at the database as a whole: the hierarchy, what "
    "failed, what is pending.",
}
"""Of the checks on the mappings: what concerns no table alone shows there."""
IN_FULL_MOST = 100
"""Tenants of a run up to which every partition lists every check. 5,000 tenants of eight tables would store
80,000 times three kilobytes."""


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
    metadata: Metadata = field(default_factory=dict)

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


class TableVerdicts:
    """What the gates say about each tenant of a table; what they say of all is put together once."""

    def __init__(self, outcome: TableOutcome, *, in_full: bool = True) -> None:
        """Take a table's part of a run.

        Args:
            outcome: what became of the table.
            in_full: every check in the metadata, and the gate before for every tenant; else for those whom it
                stopped: of the others the materialization says how many checks they passed.
        """
        self._outcome = outcome
        self._in_full = in_full
        self._validation = self._of_gate_before()
        self._of_all: dict[tuple[int, ...], Verdict] = {}

    def of(self, tenant_id: str) -> list[Verdict]:
        """Return the results of one tenant; a gate that was not reached says nothing."""
        state = self._outcome.tenant_states.get(tenant_id)
        if state == "blocked":
            return []  # the others went on without it
        found = []
        if self._validation is not None and (self._in_full or not self._validation.passed):
            found.append(self._validation)
        if self._outcome.result is not None and state in {"completed", "failed"}:
            verdict = self._verification(tenant_id)
            found.append(
                replace(verdict, passed=False, description=self._outcome.reason or _NO_REASON)
                if verdict.passed and state == "failed"  # no check names it: rows remain, or are quarantined
                else verdict
            )
        return found

    def _of_gate_before(self) -> Verdict | None:
        if self._outcome.before:
            return judge(VALIDATION, self._outcome.before, in_full=self._in_full)
        return None if self._outcome.result is None else _skipped()

    def _verification(self, tenant_id: str) -> Verdict:
        checks = checks_on(self._outcome.after, tenant_id)
        same = tuple(map(id, checks))  # of the outcome, as long as none is about this tenant in particular
        if same not in self._of_all:
            verdict = judge(VERIFICATION, checks, in_full=self._in_full)
            if any(mine is not theirs for mine, theirs in zip(checks, self._outcome.after, strict=True)):
                return verdict
            self._of_all[same] = verdict
        return self._of_all[same]


_NO_REASON = "the migration of this tenant failed"


def judge_drift(check_name: str, checks: Sequence[CheckResult], tenant_id: str, *, in_full: bool) -> Verdict:
    """Return a verdict on what was migrated earlier: what only warns, but names the tenant, counts too.

    A row that came to another tenant with the organization of that one stands against no migration; but
    whoever verifies again wants to see it.
    """
    verdict = judge(check_name, checks, in_full=in_full)
    warnings_of_tenant = [
        check
        for check in checks
        if check.outcome is Outcome.FAILED
        and check.severity == "warning"
        and tenant_id in (check.details.get("tenants") or {})
    ]
    if not verdict.passed or not warnings_of_tenant:
        return verdict
    return replace(
        verdict,
        passed=False,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(f"{check.description}: {check.count:,}" for check in warnings_of_tenant),
    )


def judge(check_name: str, checks: Sequence[CheckResult], *, in_full: bool = True) -> Verdict:
    """Return a gate's verdict: it passed when it ran and nothing stands against the table.

    Args:
        check_name: the gate.
        checks: as they concern whom it is about.
        in_full: whether its metadata lists every check.
    """
    blocking = tuple(check for check in checks if check.blocks)
    ran = counted(len(checks), "check") if checks else "no check ran"
    return Verdict(
        check_name=check_name,
        passed=bool(checks) and not blocking,
        description=describe_blocking(blocking) or ran,
        metadata=of_checks(checks, in_full=in_full),
    )


def checks_on(checks: Sequence[CheckResult], tenant_id: str) -> tuple[CheckResult, ...]:
    """Return the checks as they concern one tenant.

    One that names tenants passed for the others, and counts this one's part. Its keys are those of all whom
    it names: they stay only when that is this tenant alone.
    """
    return tuple(_on(check, tenant_id) for check in checks)


def _on(check: CheckResult, tenant_id: str) -> CheckResult:
    if check.outcome is not Outcome.FAILED or check.tenant_id == tenant_id:
        return check
    named = {check.tenant_id: check.count} if check.tenant_id is not None else check.details.get("tenants")
    if not named or set(named) == {tenant_id}:
        return check
    if tenant_id not in named:
        return replace(check, outcome=Outcome.PASSED, count=0, examples=(), reproduce=None)
    return replace(check, count=named[tenant_id], examples=())


def _skipped() -> Verdict:
    return Verdict(
        check_name=VALIDATION,
        passed=False,
        severity=dg.AssetCheckSeverity.WARN,
        description="not run: the run was told to skip the validation",
    )
