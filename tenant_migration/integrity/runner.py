"""Runs checks in one read-only snapshot; one that cannot run takes no other with it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import psycopg
from psycopg import sql

from tenant_migration.config import MigrationConfig
from tenant_migration.database.connection import transaction
from tenant_migration.integrity.check import Remark
from tenant_migration.integrity.facts import Connection
from tenant_migration.integrity.model import CheckResult, Outcome, Phase
from tenant_migration.integrity.planner import set_planner
from tenant_migration.integrity.questions import (
    Question,
    blank_result,
    configured_skip,
    errored,
    prepare,
    skipped,
)
from tenant_migration.integrity.registry import refuse_unknown_names
from tenant_migration.integrity.savepoint import savepoint
from tenant_migration.integrity.situation import read_situation
from tenant_migration.integrity.targets import targets
from tenant_migration.planning.model import Plan

LOCK_TIMEOUT_MS = 5_000
"""Reading waits only for ACCESS EXCLUSIVE locks (DDL, TRUNCATE); after this long the check errored."""

_STOPS_THE_GROUP = frozenset({"57014", "55P03", "53200", "53400"})
"""Too long, locked or too much for the server: the same scan again for each check would end the same way."""


def run_checks(
    connection: Connection,
    plan: Plan,
    config: MigrationConfig,
    phase: Phase,
    *,
    tables: Sequence[str] | None,
    tenants: Sequence[str] | None,
    only: Sequence[str] | None,
) -> list[CheckResult]:
    """Run the checks of a phase.

    1. Refuse names that do not exist; spread the registry over the tables and relations in scope.
    2. Open one REPEATABLE READ READ ONLY transaction with `row_security = off`: all checks see one moment,
       and a policy that would hide rows is an error instead of a silent zero (R1).
    3. Read the facts that the SQL builders need; build the questions.
    4. Put questions that read the same as one statement. When that fails, put each alone: only those that
       cannot run are errored.

    Returns:
        One result for each check and table (or relation), in the registry's order, checks of the database
        first.

    Raises:
        UnknownTable, ConfigurationError: before anything is read.
        DatabaseUnavailable: the connection was lost.
    """
    refuse_unknown_names(config, plan, only or ())
    asked_about = None if tenants is None else tuple(dict.fromkeys(tenants))
    wanted = targets(plan, phase, tables, only)
    results = [blank_result(target, config, asked_about) for target in wanted]
    waiting = []
    for number, target in enumerate(wanted):
        reason = configured_skip(target, config)
        if reason is None:
            waiting.append(number)
        else:
            results[number] = skipped(results[number], f"by configuration: {reason}")
    if not waiting:
        return results
    with transaction(
        connection,
        lock_timeout_ms=LOCK_TIMEOUT_MS,
        statement_timeout_ms=config.validation.statement_timeout_ms,
        read_only=True,
        isolation="repeatable read",
    ):
        try:
            with savepoint(connection):
                situation = read_situation(
                    connection, plan, config, [wanted[n] for n in waiting], asked_about
                )
                set_planner(connection, situation)
        except psycopg.Error as error:
            for number in waiting:
                results[number] = errored(results[number], error)
            return results
        questions: dict[int, Question] = {}
        for number in waiting:
            prepared = prepare(wanted[number], situation, results[number])
            if isinstance(prepared, Question):
                questions[number] = prepared
            else:
                results[number] = prepared
        for group in _groups(questions):
            results_of_group = _ask(connection, [questions[number] for number in group])
            for number, result in zip(group, results_of_group, strict=True):
                results[number] = result
    return results


def _groups(questions: dict[int, Question]) -> list[list[int]]:
    groups: dict[object, list[int]] = {}
    for number, question in questions.items():
        groups.setdefault(number if question.reads is None else question.reads, []).append(number)
    return list(groups.values())


def _ask(connection: Connection, questions: list[Question]) -> list[CheckResult]:
    started = time.monotonic()
    try:
        with savepoint(connection):
            rows = connection.execute(_statement(questions)).fetchall()
    except psycopg.Error as error:
        if len(questions) == 1 or error.sqlstate in _STOPS_THE_GROUP:
            duration_ms = _milliseconds_since(started)
            return [errored(question.blank, error, duration_ms) for question in questions]
        return [result for question in questions for result in _ask(connection, [question])]
    duration_ms = _milliseconds_since(started)
    answers = {number: answer for number, *answer in rows}
    return [
        _judged(connection, question, answers[number], duration_ms)
        for number, question in enumerate(questions)
    ]


def _statement(questions: list[Question]) -> sql.Composed:
    """Build one statement for questions that read the same; its rows begin with the question's place."""
    answers = sql.SQL(" UNION ALL ").join(
        sql.SQL(
            "SELECT {}, q.rows_checked, q.expected, q.count, q.examples, q.details FROM ({}) AS q"
        ).format(sql.Literal(number), question.verdict)
        for number, question in enumerate(questions)
    )
    shared = questions[0].shared
    return sql.SQL("{}").format(answers) if shared is None else sql.SQL("WITH {} {}").format(shared, answers)


def _judged(
    connection: Connection, question: Question, answer: Sequence[Any], duration_ms: float
) -> CheckResult:
    rows_checked, expected, count, examples, details = answer
    judged = replace(
        question.blank,
        rows_checked=rows_checked,
        expected=expected,
        count=count,
        duration_ms=duration_ms,
        reason=None,
        details=details,
    )
    if count:
        reproduce = question.wrong_rows.as_string(connection) if question.wrong_rows else None
        judged = replace(judged, outcome=Outcome.FAILED, examples=tuple(examples), reproduce=reproduce)
        return _with_remark(judged, question.remark(details))
    if rows_checked == 0 and details.get("skipped"):
        return replace(judged, outcome=Outcome.SKIPPED, reason=details["skipped"], details={})
    if rows_checked == 0 and expected:
        return replace(
            judged,
            outcome=Outcome.ERRORED,
            reason=f"there was nothing to look at, while {expected:,} were expected",
        )
    return replace(judged, outcome=Outcome.PASSED)


def _with_remark(result: CheckResult, remark: Remark | None) -> CheckResult:
    if remark is None:
        return result
    advice = " ".join(filter(None, (result.recommendation, remark.recommendation)))
    return replace(
        result, description=f"{result.description}; {remark.description}", recommendation=advice or None
    )


def _milliseconds_since(started: float) -> float:
    return round((time.monotonic() - started) * 1000, 3)
