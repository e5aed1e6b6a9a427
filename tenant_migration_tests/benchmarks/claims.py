"""The data of the benchmarks: claims, with tenants of very different sizes, on a server of its own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from tenant_migration.config import MigrationConfig
from tenant_migration.database.install import install
from tenant_migration.quickstart.server import EmbeddedServer, start_server, stop_server

OWNER = "app_owner"
TABLE = "public.claims"
SERVER_SETTINGS = {
    "shared_buffers": "1GB",
    "max_wal_size": "16GB",
    "checkpoint_timeout": "1h",
    "autovacuum": "off",  # it would start in one half of a pair and not in the other
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
}

_ORGANIZATIONS = """
CREATE TABLE public.organizations (id uuid PRIMARY KEY, parent_id uuid, slug text, name text);
CREATE TABLE public.profiles (id uuid PRIMARY KEY);
INSERT INTO public.profiles SELECT gen_random_uuid() FROM generate_series(1, 5000);
CREATE TABLE public.claims (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(), tenant_id text NOT NULL,
    profile_id uuid NOT NULL REFERENCES public.profiles, title text, amount integer,
    created_at timestamptz, updated_at timestamptz, organization_id uuid)"""

# 176 bytes a row, tenants of very different sizes (the k-th has about 1/k of the first's), interleaved.
_CLAIMS = """
WITH weights AS (
    SELECT k, (sum(1.0 / k) OVER (ORDER BY k) / sum(1.0 / k) OVER ())::float8 AS upto
    FROM generate_series(1, %(tenants)s) AS k),
drawn AS (SELECT i, random() AS r, 1 + (random() * 4999)::int AS p FROM generate_series(1, %(rows)s) AS i),
people AS (SELECT id, row_number() OVER () AS p FROM public.profiles)
INSERT INTO public.claims (tenant_id, profile_id, title, amount, created_at, updated_at)
SELECT 'tenant-' || width_bucket(r, (SELECT array_agg(upto ORDER BY k) FROM weights)) + 1, people.id,
       rpad('claim ' || i, 60, 'x'), i, now() - i * interval '1 second', now()
FROM drawn JOIN people USING (p) ORDER BY i"""

INDEX = "CREATE INDEX {} claims_organization_id_idx ON public.claims (organization_id)"
KEY = (
    "ALTER TABLE public.claims ADD CONSTRAINT claims_organization_id_fkey"
    " FOREIGN KEY (organization_id) REFERENCES public.organizations (id)"
)


@contextmanager
def benchmark_server(version: int) -> Iterator[EmbeddedServer]:
    """Start a server for the body, with what production has on and what would disturb a pair off."""
    folder = Path(tempfile.mkdtemp(prefix="tmb", dir="/tmp"))
    folder.chmod(0o711)
    server = start_server(folder / "d", version, settings=SERVER_SETTINGS)
    try:
        yield server
    finally:
        stop_server(server)
        shutil.rmtree(folder, ignore_errors=True)


def make_templates(server: EmbeddedServer, rows: int, tenants: int) -> None:
    """Make the data once, in a database with index and foreign key and in one without."""
    with psycopg.connect(server.uri(), autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {OWNER} LOGIN NOSUPERUSER NOBYPASSRLS")
        connection.execute(f"CREATE DATABASE bare OWNER {OWNER}")
    with psycopg.connect(server.uri("bare"), autocommit=True) as connection:
        connection.execute(f"ALTER SCHEMA public OWNER TO {OWNER}")
    with psycopg.connect(server.uri("bare", OWNER), autocommit=True) as connection:
        connection.execute(_ORGANIZATIONS)
        install(connection, MigrationConfig())
        connection.execute(
            "INSERT INTO public.organizations SELECT gen_random_uuid(), NULL, 'tenant-' || k, 'Tenant ' || k"
            " FROM generate_series(1, %s) AS k",
            (tenants,),
        )
        connection.execute(
            "INSERT INTO public.tenant_org_mappings (tenant_id, organization_id) SELECT slug, id"
            " FROM public.organizations"
        )
        connection.execute("SELECT setseed(0.42)")
        connection.execute(_CLAIMS, {"rows": rows, "tenants": tenants})
        for column in ("tenant_id", "profile_id", "created_at"):
            connection.execute(f"CREATE INDEX ON public.claims ({column})")
        connection.execute("VACUUM (ANALYZE)")
    with psycopg.connect(server.uri(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE indexed OWNER {OWNER} TEMPLATE bare STRATEGY file_copy")
    with psycopg.connect(server.uri("indexed", OWNER), autocommit=True) as connection:
        connection.execute(INDEX.format(""))
        connection.execute(KEY)
        connection.execute("VACUUM (ANALYZE) public.claims")


@contextmanager
def database_copy(server: EmbeddedServer, template: str) -> Iterator[str]:
    """Give the URL of a fresh copy of a template; it is dropped at the end."""
    with psycopg.connect(server.uri(), autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS work")
        connection.execute(f"CREATE DATABASE work OWNER {OWNER} TEMPLATE {template} STRATEGY file_copy")
    yield server.uri("work", OWNER)
    with psycopg.connect(server.uri(), autocommit=True) as connection:
        connection.execute("DROP DATABASE work")
