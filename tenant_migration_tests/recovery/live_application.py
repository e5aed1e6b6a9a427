"""An application that writes while we migrate and roll back, and keeps a ledger of what it wrote.

The ledger is written in the application's own transactions. It knows nothing of the migration: what it says
is what the table must be once everything of ours is taken back. `organization` in it is what the application
itself wrote last, NULL where it never did.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import psycopg

SCHEMA = """
CREATE TABLE public.claims (
    id bigint PRIMARY KEY, tenant_id text, payload integer NOT NULL, organization_id uuid);
CREATE INDEX ON public.claims (tenant_id);
CREATE TABLE public.ledger (id bigint PRIMARY KEY, tenant text, payload integer NOT NULL, organization uuid);
CREATE SEQUENCE public.claim_ids"""

WRONG_ROWS = """
SELECT id, c.tenant_id, l.tenant, c.payload, l.payload, c.organization_id, l.organization
FROM public.claims c FULL JOIN public.ledger l USING (id)
WHERE (c.id IS NULL) OR (l.id IS NULL)
   OR (c.tenant_id, c.payload, c.organization_id) IS DISTINCT FROM (l.tenant, l.payload, l.organization)
ORDER BY id"""
"""Rows in which table and ledger disagree."""

_BUSY = (
    psycopg.errors.LockNotAvailable,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.SerializationFailure,
)


def create(connection: psycopg.Connection, tenants: Sequence[str], rows: int) -> None:
    """Make table and ledger with rows of all tenants."""
    connection.execute(SCHEMA)
    connection.execute(
        "INSERT INTO public.claims (id, tenant_id, payload)"
        " SELECT nextval('public.claim_ids'), (%s::text[])[1 + i %% %s], i FROM generate_series(1, %s) AS i",
        (list(tenants), len(tenants), rows),
    )
    connection.execute("INSERT INTO public.ledger SELECT id, tenant_id, payload, NULL FROM public.claims")


@dataclass
class Application:
    """One connection of the application. Each method is one transaction; a row that is gone is left alone."""

    connection: psycopg.Connection
    tenants: Sequence[str]
    organizations: Sequence[str]

    def pay(self, claim: int) -> None:
        """Change something that has nothing to do with tenants."""
        with self.connection.transaction():
            self._both("payload = payload + 1", claim)

    def assign(self, claim: int, organization: str) -> None:
        """Write an organization; writing what is there already is no decision of the application."""
        with self.connection.transaction():
            if self._organization(claim) not in {organization, ...}:
                self._both("organization_id = %s", claim, organization)

    def write_back(self, claim: int) -> None:
        """Take the organization away and put the very same one back: from now on it is the application's."""
        with self.connection.transaction():
            found = self._organization(claim)
            if found is not ... and found is not None:
                self._both("organization_id = %s", claim, None)
                self._both("organization_id = %s", claim, found)

    def clear(self, claim: int) -> None:
        """Set the organization to NULL."""
        with self.connection.transaction():
            if self._organization(claim) not in {None, ...}:
                self._both("organization_id = %s", claim, None)

    def move(self, claim: int, tenant: str) -> None:
        """Give the row to another tenant; the application knows of no organization to change with it."""
        with self.connection.transaction():
            self._both("tenant_id = %s", claim, tenant)

    def delete(self, claim: int) -> None:
        """Delete the row."""
        with self.connection.transaction():
            if self.connection.execute("DELETE FROM public.claims WHERE id = %s", (claim,)).rowcount:
                self.connection.execute("DELETE FROM public.ledger WHERE id = %s", (claim,))

    def insert(self, tenant: str | None, organization: str | None = None, claim: int | None = None) -> None:
        """Insert a row, also one that was there before."""
        with self.connection.transaction():
            row = self.connection.execute(
                "INSERT INTO public.claims (id, tenant_id, payload, organization_id)"
                " VALUES (coalesce(%s, nextval('public.claim_ids')), %s, 0, %s)"
                " ON CONFLICT (id) DO NOTHING RETURNING id",
                (claim, tenant, organization),
            ).fetchone()
            if row is not None:
                self.connection.execute(
                    "INSERT INTO public.ledger VALUES (%s, %s, 0, %s)", (row[0], tenant, organization)
                )

    def delete_and_insert_again(self, claim: int) -> None:
        """Delete a row and insert one with the same key, tenant and organization: the application's own."""
        with self.connection.transaction():
            row = self.connection.execute(
                "DELETE FROM public.claims WHERE id = %s RETURNING tenant_id, organization_id", (claim,)
            ).fetchone()
            if row is None:
                return
            self.connection.execute("INSERT INTO public.claims VALUES (%s, %s, 0, %s)", (claim, *row))
            self.connection.execute("DELETE FROM public.ledger WHERE id = %s", (claim,))
            self.connection.execute("INSERT INTO public.ledger VALUES (%s, %s, 0, %s)", (claim, *row))

    def _organization(self, claim: int) -> object:
        """Return the row's organization, locked until the transaction ends; `...`: there is no such row."""
        row = self.connection.execute(
            "SELECT organization_id::text FROM public.claims WHERE id = %s FOR NO KEY UPDATE", (claim,)
        ).fetchone()
        return ... if row is None else row[0]

    def _both(self, assignment: str, claim: int, *values: object) -> None:
        changed = self.connection.execute(
            f"UPDATE public.claims SET {assignment} WHERE id = %s", (*values, claim)
        ).rowcount
        if changed:
            of_ledger = assignment.replace("organization_id", "organization").replace("tenant_id", "tenant")
            self.connection.execute(f"UPDATE public.ledger SET {of_ledger} WHERE id = %s", (*values, claim))


@dataclass
class Writers:
    """Threads of the application that write until they are stopped."""

    url: str
    tenants: Sequence[str]
    organizations: Sequence[str]
    seed: int
    threads: int = 3
    transactions: int = 0
    """Committed so far."""
    _stop: threading.Event = field(default_factory=threading.Event)
    _running: list[threading.Thread] = field(default_factory=list)
    _errors: list[BaseException] = field(default_factory=list)

    def __enter__(self) -> Writers:
        self._running = [
            threading.Thread(target=self._write, args=(random.Random(f"{self.seed}/{number}"),))
            for number in range(self.threads)
        ]
        for thread in self._running:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._running:
            thread.join()
        if self._errors:
            raise self._errors[0]

    def _write(self, chance: random.Random) -> None:
        try:
            with psycopg.connect(self.url, autocommit=True) as connection:
                connection.execute("SET lock_timeout = '2s'")
                application = Application(connection, self.tenants, self.organizations)
                while not self._stop.is_set():
                    try:
                        _choose(application, chance)()
                    except _BUSY:
                        continue
                    self.transactions += 1
        except BaseException as error:  # noqa: BLE001 - raised by the test's own thread
            self._errors.append(error)


def _choose(application: Application, chance: random.Random) -> Callable[[], None]:
    row = application.connection.execute("SELECT last_value FROM public.claim_ids").fetchone()
    assert row is not None
    claim = chance.randint(1, row[0])
    tenant = chance.choice(application.tenants)
    organization = chance.choice(application.organizations)
    [action] = chance.choices(
        [
            lambda: application.pay(claim),
            lambda: application.assign(claim, organization),
            lambda: application.write_back(claim),
            lambda: application.clear(claim),
            lambda: application.move(claim, tenant),
            lambda: application.delete(claim),
            lambda: application.insert(tenant, chance.choice([None, None, organization])),
            lambda: application.delete_and_insert_again(claim),
        ],
        weights=[30, 12, 12, 4, 12, 6, 12, 6],
    )
    return action
