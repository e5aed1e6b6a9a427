"""Proves a rollback: by the journal always, and row by row against a backup where one has the rows.

Belongs here: the checks, as `integrity`'s results. A check that could not run, or that saw nothing while
something was expected, is never passed. All of one table are asked in one read-only snapshot.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import psycopg

from tenant_migration.backfill.claims import claims_exist, triggers_work
from tenant_migration.backfill.journal import journal_exists
from tenant_migration.backfill.retry import message_of
from tenant_migration.catalog.columns import read_columns
from tenant_migration.catalog.model import Column
from tenant_migration.config import MigrationConfig
from tenant_migration.database.connection import transaction
from tenant_migration.integrity.model import CheckResult, Outcome, SeverityLevel
from tenant_migration.integrity.savepoint import savepoint
from tenant_migration.planning.model import TablePlan
from tenant_migration.planning.storage import table_ids
from tenant_migration.recovery import comparison_sql, verification_sql
from tenant_migration.recovery.backups.columns import BACKUP_COLUMN, CHECKSUM_FORMULA, pin_text_forms
from tenant_migration.recovery.checksum_sql import checksum
from tenant_migration.recovery.results import PreviousValues, RollbackResult
from tenant_migration.recovery.verification_sql import Journaled

PHASE = "post-rollback"
LOCK_TIMEOUT_MS = 5_000

LEFT_OPEN = "nothing_left_to_roll_back"
ACCOUNTED = "rollback_accounts_for_every_row"
RESTORED = "rows_have_their_earlier_value"
ORGANIZATIONS = "organizations_as_in_backup"
OTHER_COLUMNS = "other_columns_as_in_backup"
CHECKSUM = "checksum_as_in_backup"


@dataclass(frozen=True)
class ComparedBackup:
    """The newest backup from before what is taken back was written."""

    backup_id: int
    relation: str
    backup_column: str | None
    column_names: tuple[str, ...]
    row_count: int
    checksum: int
    checksum_formula: int
    tenants: frozenset[str] | None
    """None: whole tables."""
    created_at: datetime


@dataclass(frozen=True)
class Before:
    """What has to be known before the rollback begins, to verify it afterwards."""

    first_batch: int | None
    """The oldest batch of the journal with something to take back."""
    backup: ComparedBackup | None
    no_backup: str
    """Why there is none to compare with."""


_BACKUP = """
SELECT b.backup_id, t.relation::text, t.backup_column::text, t.column_names::text[], t.row_count,
       t.source_checksum, t.checksum_formula, b.tenants, b.created_at
FROM tenant_migration.backups AS b JOIN tenant_migration.backed_up_tables AS t USING (backup_id)
WHERE b.state = 'complete' AND t.table_id = %(table_id)s AND t.source_checksum = t.copy_checksum
  AND (b.tenants IS NULL OR b.tenants @> %(tenants)s::text[])
  AND (coalesce(t.journal_batch_id, 0) < %(first_batch)s::int8
       OR (%(first_batch)s::int8 IS NULL AND b.backup_id = %(preferred)s::int8))
  AND to_regclass(format('tenant_migration.%%I', t.relation)) IS NOT NULL
ORDER BY b.backup_id = %(preferred)s::int8 DESC NULLS LAST, b.created_at DESC LIMIT 1"""


def look_before(
    connection: psycopg.Connection,
    table: TablePlan,
    tenants: Mapping[str, int],
    *,
    whole_table: bool,
    from_backup: int | None = None,
) -> Before:
    """Read, before the rollback, where it begins and which backup it can be compared with.

    Args:
        connection: outside of a transaction.
        table: the table.
        tenants: those that will be taken back, with their numbers.
        whole_table: whether they are all that there are: then only a whole backup proves anything.
        from_backup: the backup whose values will be brought back, if one will: then it is the one to compare
        with, unless it holds what the migration wrote.
    """
    table_id = table_ids(connection)[table.qualified_name]
    with transaction(connection, statement_timeout_ms=0, read_only=True):
        first_batch = None
        if journal_exists(connection, table_id):
            numbers = None if whole_table else list(tenants.values())
            row = connection.execute(verification_sql.first_open(table_id), {"numbers": numbers}).fetchone()
            first_batch = row[0] if row else None
        if first_batch is None and from_backup is None:
            return Before(None, None, "nothing was taken back")
        backup = connection.execute(
            _BACKUP,
            {
                "table_id": table_id,
                "tenants": None if whole_table else sorted(tenants),
                "first_batch": first_batch,
                "preferred": from_backup,
            },
        ).fetchone()
    whom = "the whole table" if whole_table else "these tenants"
    if backup is None:
        return Before(first_batch, None, f"no verified backup has {whom} from before the migration")
    number, relation, column, names, rows, total, formula, of_tenants, created_at = backup
    return Before(
        first_batch,
        ComparedBackup(
            number,
            relation,
            column,
            tuple(names),
            rows,
            int(total),
            formula,
            None if of_tenants is None else frozenset(of_tenants),
            created_at,
        ),
        "",
    )


def verify_rollback(
    connection: psycopg.Connection,
    config: MigrationConfig,
    table: TablePlan,
    *,
    result: RollbackResult,
    tenants: Mapping[str, int],
    whole_table: bool,
    before: Before | None,
    previous: PreviousValues | None = None,
) -> list[CheckResult]:
    """Verify the rollback of one table.

    1. No entry of the journal is open for these tenants.
    2. Entries = restored + changed + deleted + failed, by the journal, the counters and the list.
    3. Every row that was taken back has its earlier value, or the application wrote it since.
    4. With a backup: row by row, the organization and every other column.
    5. With a backup and no difference: the checksum of the source in the backup's manifest.

    Args:
        connection: outside of a transaction.
        config: for the longest time that a check may take.
        table: the table.
        result: what the rollback did.
        tenants: those that were taken back, with their numbers.
        whole_table: whether they are all that there are.
        before: what `look_before` saw; None: step 2 only, which looks at no row.
        previous: the backup whose values were brought back; None: the journal's.

    Returns:
        One result for each check.
    """
    work = _Verification(connection, config, table, result, dict(tenants), whole_table, before, previous)
    return work.perform()


@dataclass(frozen=True)
class _Answer:
    """What a check found."""

    rows_checked: int
    expected: int | None
    count: int
    examples: Sequence[str] = ()
    details: Mapping[str, Any] | None = None
    skipped: str | None = None


@dataclass(frozen=True)
class _Verification:
    """The checks of one table."""

    connection: psycopg.Connection
    config: MigrationConfig
    table: TablePlan
    result: RollbackResult
    tenants: dict[str, int]
    whole_table: bool
    before: Before | None
    previous: PreviousValues | None

    def perform(self) -> list[CheckResult]:
        """Take the steps of `verify_rollback`, in one snapshot."""
        with transaction(
            self.connection,
            lock_timeout_ms=LOCK_TIMEOUT_MS,
            statement_timeout_ms=self.config.validation.statement_timeout_ms,
            read_only=True,
            isolation="repeatable read",
        ):
            self.connection.execute(
                "SELECT set_config('jit', 'off', true), set_config('work_mem', '32MB', true)"
            )
            accounted = self._ask(
                self._blank(
                    ACCOUNTED,
                    "critical",
                    "Rows that are neither restored nor listed as changed, deleted or failed",
                    "Do not go on: somebody changed the journal or the list. Compare with a backup.",
                ),
                self._accounted,
            )
            if self.before is None:
                return [accounted]
            left_open = self._ask(
                self._blank(
                    LEFT_OPEN,
                    "critical",
                    "Rows that the migration wrote and that are not taken back",
                    "Mend the reasons that tenant_migration.left_alone gives, and run the rollback again.",
                ),
                self._left_open,
            )
            restored = self._ask(
                self._blank(
                    RESTORED,
                    "critical",
                    "Rows that were taken back and do not have their earlier organization",
                    "Do not go on: compare with a backup, and restore from it (rollback --from-backup).",
                ),
                self._restored,
            )
            return [left_open, accounted, restored, *self._compare(self.before)]

    def _compare(self, before: Before) -> list[CheckResult]:
        organizations = self._blank(
            ORGANIZATIONS,
            "critical",
            "Rows whose organization is not the one in the backup, and that the application did not write",
            "Do not go on: restore from the backup (rollback --from-backup).",
        )
        others = self._blank(
            OTHER_COLUMNS,
            "warning",
            "Rows that differ from the backup: changed, deleted or added since",
            "The migration writes no other column: look whether the application did.",
        )
        proof = self._blank(
            CHECKSUM,
            "critical",
            "The checksum over all rows is not the one that the source had in the backup's snapshot",
            "Do not go on: compare the table with the backup yourself.",
        )
        backup = before.backup
        no_backup = before.no_backup
        if backup is not None and not self.table.key_columns:
            backup, no_backup = None, "the table has no key by which its rows could be found in a backup"
        if backup is None:
            return [_skipped(check, no_backup) for check in (organizations, others, proof)]
        found: list[_Comparison] = []

        def compare() -> _Answer:
            found.append(self._compare_rows(backup))
            return found[0].organizations

        first = self._ask(organizations, compare)
        if not found:
            why = f"{ORGANIZATIONS} could not run"
            return [first, _skipped(others, why), _skipped(proof, why)]
        second = self._ask(others, lambda: found[0].others)
        differs = first.count or second.count or found[0].by_application
        return [
            first,
            second,
            _skipped(proof, "rows differ")
            if differs
            else self._ask(proof, lambda: self._checksum(backup, found[0].left_out)),
        ]

    def _ask(self, blank: CheckResult, question: Callable[[], _Answer]) -> CheckResult:
        started = time.monotonic()
        try:
            with savepoint(self.connection):
                answer = question()
        except psycopg.Error as error:
            return replace(
                blank,
                outcome=Outcome.ERRORED,
                reason=message_of(error),
                sqlstate=error.sqlstate,
                duration_ms=_milliseconds_since(started),
            )
        judged = replace(
            blank,
            rows_checked=answer.rows_checked,
            expected=answer.expected,
            count=answer.count,
            duration_ms=_milliseconds_since(started),
            details=dict(answer.details or {}),
            reason=None,
        )
        if answer.skipped is not None:
            return _skipped(judged, answer.skipped)
        if answer.count:
            return replace(judged, outcome=Outcome.FAILED, examples=tuple(answer.examples))
        if answer.rows_checked == 0 and answer.expected:
            reason = f"there was nothing to look at, while {answer.expected:,} were expected"
            return replace(judged, outcome=Outcome.ERRORED, reason=reason)
        return replace(judged, outcome=Outcome.PASSED)

    def _blank(
        self, name: str, severity: SeverityLevel, description: str, recommendation: str
    ) -> CheckResult:
        return CheckResult(
            name=name,
            phase="post-rollback",
            table=self.table.qualified_name,
            outcome=Outcome.ERRORED,
            severity=self.config.validation.severity.get(name, severity),
            description=description,
            rows_checked=0,
            count=0,
            duration_ms=0.0,
            column=self.table.organization_column,
            reason="it was not asked",
            recommendation=recommendation,
        )

    @property
    def _table_id(self) -> int:
        return table_ids(self.connection)[self.table.qualified_name]

    def _journaled(self) -> Journaled:
        known = claims_exist(self.connection, self._table_id) and triggers_work(
            self.connection, self.table, self._table_id
        )
        return Journaled(self.table, self._table_id, known, self.previous)

    def _parameters(self) -> dict[str, object]:
        return {
            "numbers": sorted(self.tenants.values()),
            "run_id": self.result.run_id,
            "table_id": self._table_id,
            "first_batch": (self.before.first_batch if self.before else None) or 0,
        }

    def _left_open(self) -> _Answer:
        expected = self.result.rows_expected
        if not journal_exists(self.connection, self._table_id):
            return _Answer(0, expected, 0, skipped=None if expected else "nothing was ever journaled")
        row = self.connection.execute(
            verification_sql.left_open(self._journaled(), whole_table=self.whole_table), self._parameters()
        ).fetchone()
        entries, by_tenant, keys = row if row is not None else (0, {}, [])
        return _Answer(
            rows_checked=int(entries),
            expected=expected,
            count=sum(by_tenant.values()),
            examples=keys,
            details={"tenants": by_tenant} if by_tenant else None,
        )

    def _accounted(self) -> _Answer:
        result = self.result
        row = self.connection.execute(verification_sql.ACCOUNTED, self._parameters()).fetchone()
        if row is None:
            return _Answer(0, max(1, result.rows_expected), 0)
        restored, changed, deleted, listed_changed, listed_deleted = (int(value) for value in row)
        counted = restored + changed + deleted + result.rows_failed
        wrong = (
            abs(result.rows_expected - counted)
            + abs(changed - listed_changed)
            + abs(deleted - listed_deleted)
            + abs(restored - result.rows_restored)
        )
        return _Answer(
            rows_checked=counted,
            expected=result.rows_expected,
            count=wrong,
            details={
                "restored": restored,
                "changed": changed,
                "deleted": deleted,
                "failed": result.rows_failed,
                "listed_changed": listed_changed,
                "listed_deleted": listed_deleted,
            },
        )

    def _restored(self) -> _Answer:
        expected = self.result.rows_expected - self.result.rows_failed
        if not self.table.key_columns:
            return _Answer(0, expected, 0, skipped="the table has no key by which its rows could be found")
        if not journal_exists(self.connection, self._table_id):
            return _Answer(0, expected, 0, skipped=None if expected else "nothing was ever journaled")
        journaled = self._journaled()
        row = self.connection.execute(verification_sql.restored(journaled), self._parameters()).fetchone()
        if row is None:
            return _Answer(0, max(1, expected), 0)
        looked_at, wrong, examples, by_tenant, as_before, changed, gone = row
        return _Answer(
            rows_checked=looked_at,
            expected=expected,
            count=wrong,
            examples=examples,
            details={
                **({"tenants": by_tenant} if by_tenant else {}),
                "as_before": as_before,
                "changed_since": changed - wrong,
                "gone": gone,
                "application_writes_are_known": journaled.has_claims,
            },
        )

    def _compare_rows(self, backup: ComparedBackup) -> _Comparison:
        journaled = self._journaled()
        names, left_out = self._columns_to_compare(backup)
        compared = comparison_sql.Compared(
            journaled=journaled,
            relation=backup.relation,
            backup_id=backup.backup_id,
            by_backup_column=backup.backup_column is not None,
            has_organization=self.table.organization_column in backup.column_names,
            columns=tuple(names),
            some_tenants=not self.whole_table,
            has_journal=journal_exists(self.connection, self._table_id),
        )
        keys = [
            row[0]
            for row in self.connection.execute(
                comparison_sql.keys_of_tenants(self.table), {"numbers": sorted(self.tenants.values())}
            )
            if row[0] is not None
        ]
        row = self.connection.execute(
            comparison_sql.compare(compared),
            {"keys": keys, "table_id": self._table_id, "since": backup.created_at},
        ).fetchone()
        if row is None:
            raise RuntimeError("an aggregate gave no row")
        saved, equal, wrong, by_application, others, missing, new, wrong_keys, other_keys, by_tenant = row
        expected = backup.row_count if self.whole_table and backup.backup_column is None else saved
        details = {
            "backup": backup.backup_id,
            "equal": equal,
            "organization_by_application": by_application,
            "other_columns": others,
            "missing": missing,
            "new": new,
            **({"columns_left_out": left_out} if left_out else {}),
        }
        of_tenants: dict[str, Any] = {}
        if saved < expected:
            details["rows_lost_in_backup"] = expected - saved
        elif by_tenant and sum(by_tenant.values()) == wrong:
            of_tenants = {"tenants": by_tenant}
        return _Comparison(
            organizations=_Answer(
                saved, expected, wrong + max(0, expected - saved), wrong_keys, {**details, **of_tenants}
            ),
            others=_Answer(
                saved, expected, others + missing + new + len(left_out), [*other_keys, *left_out], details
            ),
            by_application=by_application,
            left_out=left_out,
        )

    def _columns_to_compare(self, backup: ComparedBackup) -> tuple[list[str], list[str]]:
        """Return the columns that both have in one type, and those of the backup that the table has not."""
        here = {
            column.name: column.type_sql
            for column in self._columns(self.table.schema_name, self.table.table_name)
        }
        there = {
            column.name: column.type_sql for column in self._columns("tenant_migration", backup.relation)
        }
        names = [
            name
            for name in backup.column_names
            if name != self.table.organization_column and here.get(name) == there.get(name)
        ]
        left_out = [
            name
            for name in backup.column_names
            if name != self.table.organization_column and name not in names
        ]
        return names, left_out

    def _columns(self, schema: str, relation: str) -> list[Column]:
        row = self.connection.execute(
            "SELECT c.oid FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace"
            " WHERE n.nspname = %s AND c.relname = %s",
            (schema, relation),
        ).fetchone()
        return [] if row is None else list(read_columns(self.connection, [row[0]])[row[0]])

    def _why_not_comparable(self, backup: ComparedBackup, left_out: Sequence[str]) -> str | None:
        """Say why the manifest's checksum is of something else than these rows are; None: it is of them."""
        formula = backup.checksum_formula
        reasons = {
            f"the backup's checksum is of formula {formula}, this release's of {CHECKSUM_FORMULA}": (
                formula != CHECKSUM_FORMULA
            ),
            f"columns are gone or changed: {', '.join(left_out)}": bool(left_out),
            "the backup's checksum is of the whole table": backup.tenants is None and not self.whole_table,
            "the backup has other tenants too": (
                backup.tenants is not None and backup.tenants != set(self.tenants)
            ),
            "the backup's own column has another name": backup.backup_column not in (None, BACKUP_COLUMN),
        }
        return next((reason for reason, holds in reasons.items() if holds), None)

    def _checksum(self, backup: ComparedBackup, left_out: Sequence[str]) -> _Answer:
        """Compare with the manifest: what the source was, whoever may have changed the copy since."""
        reason = self._why_not_comparable(backup, left_out)
        if reason is not None:
            return _Answer(0, None, 0, skipped=reason)
        by_name = {
            column.name: column for column in self._columns(self.table.schema_name, self.table.table_name)
        }
        if any(name not in by_name for name in backup.column_names):
            return _Answer(0, None, 0, skipped="a column of the backup is gone")
        columns = [by_name[name] for name in backup.column_names]
        pin_text_forms(self.connection)
        keys = [
            row[0]
            for row in self.connection.execute(
                comparison_sql.keys_of_tenants(self.table), {"numbers": sorted(self.tenants.values())}
            )
            if row[0] is not None
        ]
        row = self.connection.execute(
            checksum(self.table, columns, some_tenants=backup.tenants is not None), {"keys": keys}
        ).fetchone()
        rows, total = (0, None) if row is None else row
        return _Answer(
            rows_checked=rows,
            expected=backup.row_count,
            count=int(rows != backup.row_count or int(total or 0) != backup.checksum),
            details={"backup": backup.backup_id, "checksum": str(total), "in_manifest": str(backup.checksum)},
        )


@dataclass(frozen=True)
class _Comparison:
    organizations: _Answer
    others: _Answer
    by_application: int
    left_out: list[str]


def _skipped(check: CheckResult, reason: str) -> CheckResult:
    return replace(check, outcome=Outcome.SKIPPED, reason=reason)


def _milliseconds_since(started: float) -> float:
    return round((time.monotonic() - started) * 1000, 3)
