"""`cache`: a mapper in another process sees it within a second."""

from __future__ import annotations

import subprocess
import sys
import time

import psycopg
import pytest

from tenant_migration_tests.cli.runner import CommandLine

MAPPER = """
import sys, time
from tenant_migration import TenantOrgMapper
mapper = TenantOrgMapper(ttl_seconds=3600)
last = None
while True:
    found = mapper.organization_id(sys.argv[1])
    if found != last:
        print(found, flush=True)
        last = found
    time.sleep(0.02)
"""


@pytest.mark.parametrize("option", ["--refresh", "--clear"])
def test_a_mapper_in_another_process_sees_it_within_a_second(
    mapped: CommandLine, connection: psycopg.Connection, option: str
) -> None:
    [(tenant, before)] = connection.execute(
        "SELECT tenant_id, organization_id FROM tenant_org_mappings LIMIT 1"
    )
    [(after,)] = connection.execute("SELECT id FROM organizations WHERE id <> %s LIMIT 1", [before])
    mapper = subprocess.Popen(
        [sys.executable, "-c", MAPPER, tenant],
        env=mapped.process_environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert mapper.stdout is not None
        assert mapper.stdout.readline().strip() == str(before)
        # A change that the mapping's own trigger does not announce: only the command does.
        connection.execute("ALTER TABLE tenant_org_mappings DISABLE TRIGGER USER")
        connection.execute(
            "UPDATE tenant_org_mappings SET organization_id = %s WHERE tenant_id = %s", [after, tenant]
        )
        connection.execute("ALTER TABLE tenant_org_mappings ENABLE TRIGGER USER")
        time.sleep(1.5)
        result = mapped("cache", option)
        finished = time.monotonic()
        assert result.exit_code == 0
        assert "every mapper sees generation" in result.stdout
        assert mapper.stdout.readline().strip() == str(after)
        assert time.monotonic() - finished < 2  # a second, and the time of a loaded machine
    finally:
        mapper.kill()
        mapper.wait()


def test_the_command_is_in_the_audit_log(installed: CommandLine, connection: psycopg.Connection) -> None:
    assert installed("cache", "--clear").exit_code == 0
    rows = connection.execute(
        "SELECT operation, actor, outcome, detail ->> 'option' FROM migration_audit_log"
        " ORDER BY seq DESC LIMIT 1"
    ).fetchall()
    assert rows == [("cache", "tester", "completed", "clear")]
