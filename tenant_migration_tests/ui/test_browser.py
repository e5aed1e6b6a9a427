"""What an operator does in the UI, click by click; the database says whether it happened."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

from tenant_migration.quickstart.sample import UNMAPPED_TENANT
from tenant_migration_tests.ui.conftest import Site

pytestmark = [pytest.mark.ui, pytest.mark.xdist_group("ui")]

RUN_S = 120
JOBS = "/locations/tenant_migration/jobs"


def wait_for(what: str, condition: Any) -> None:
    deadline = time.monotonic() + RUN_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {RUN_S} s: {what}"
        time.sleep(0.5)


def choose_partitions(page: Any, *partitions: str) -> None:
    """Choose in the dialog that a partitioned job opens."""
    page.get_by_text("Select a partition or create one").click()
    for partition in partitions:
        page.keyboard.press("Control+A")  # what was searched for before
        page.keyboard.type(partition)
        page.locator(f"text={partition} >> visible=true").last.click()
    page.keyboard.press("Escape")


def test_the_graph_reads_from_the_mappings_to_the_tables(page: Any) -> None:
    page.goto("/locations/tenant_migration/asset-groups/public")
    page.get_by_text("tenant_org_mappings", exact=True).first.wait_for()
    page.mouse.move(700, 500)
    page.keyboard.down("Control")
    for _ in range(4):  # only what is in sight is drawn: zoom out
        page.mouse.wheel(0, 120)
        page.wait_for_timeout(300)
    page.keyboard.up("Control")
    for name in ("organizations", "tenant_org_mappings", "profiles", "claims", "grievances"):
        page.get_by_text(name, exact=True).first.wait_for()


def test_a_backfill_of_two_tenants_is_launched_and_succeeds(page: Any, site: Site) -> None:
    first, second = site.tenants[:2]
    assert site.written() == set()
    page.goto(f"{JOBS}/migrate")
    page.get_by_role("button", name="Materialize").first.click()
    choose_partitions(page, first, second)
    page.get_by_role("button", name=re.compile("Launch (backfill|2 runs)")).click()
    wait_for("the claims of both", lambda: site.written() == {first, second})
    wait_for(
        "both completed",
        lambda: (
            site.query(
                "SELECT array_agg(tenant_id ORDER BY tenant_id) FROM tenant_org_mappings"
                " WHERE migration_status = 'completed'"
            )
            == [([first, second],)]
        ),
    )
    page.goto("/runs")
    page.get_by_text("Success").first.wait_for(timeout=RUN_S * 1_000)


def test_the_check_that_failed_names_the_unmapped_tenant(page: Any) -> None:
    page.goto(f"{JOBS}/validate_all/playground")
    page.get_by_role("button", name="Launch Run").click()
    page.get_by_text("RUN_FAILURE").first.wait_for(timeout=RUN_S * 1_000)
    page.goto("/assets/public/tenant_org_mappings?view=checks&checkDetail=mapping_complete")
    page.get_by_text("Failed", exact=True).first.wait_for()
    page.get_by_text(UNMAPPED_TENANT).first.wait_for()


def test_one_tenant_is_rolled_back(page: Any, site: Site) -> None:
    first, second = site.tenants[:2]
    assert site.written() == {first, second}
    page.goto(f"{JOBS}/rollback/playground")
    page.get_by_placeholder("Partition").fill(first)
    page.locator(f"text={first} >> visible=true").last.click()
    page.get_by_role("button", name="Launch Run").click()
    wait_for("the claims of the first are as before", lambda: site.written() == {second})
    page.get_by_text("RUN_SUCCESS").first.wait_for(timeout=RUN_S * 1_000)


def test_a_bad_value_is_refused_before_a_run_starts(page: Any, site: Site) -> None:
    runs = site.query("SELECT count(*) FROM tenant_migration.runs")
    page.goto(f"{JOBS}/migrate_all/playground")
    editor = page.locator(".CodeMirror")
    editor.click()
    page.keyboard.press("Control+A")
    page.keyboard.type("ops: {start: {config: {tables: 5, dry_runn: true}}}")
    page.get_by_text(re.compile("dry_runn")).first.wait_for()
    page.get_by_text(re.compile("Received unexpected config entr|Invalid", re.IGNORECASE)).first.wait_for()
    assert not page.get_by_role("button", name="Launch Run").is_enabled()
    assert site.query("SELECT count(*) FROM tenant_migration.runs") == runs
