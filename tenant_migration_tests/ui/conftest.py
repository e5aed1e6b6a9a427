"""`tenant-migration dev` on a small sample, and a page of a headless Chromium that looks at it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tenant_migration.config import DAGSTER_URL_VARIABLE, DATABASE_URL_VARIABLE, MigrationConfig
from tenant_migration.database.connection import connect
from tenant_migration.database.install import install
from tenant_migration.planning.builder import build_plan
from tenant_migration.planning.storage import store_plan
from tenant_migration.quickstart.sample import create_sample
from tenant_migration_tests.servers import Servers
from tenant_migration_tests.versions import NEWEST

SCREENSHOTS_VARIABLE = "TENANT_MIGRATION_SCREENSHOTS"
"""Folder where the pictures are kept; default: pytest's own temporary one, which is printed."""

_START_S = 120
_SIZE = {"width": 1440, "height": 900}
_CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")


@dataclass(frozen=True)
class Site:
    """The UI and the database behind it."""

    url: str
    database_url: str
    tenants: tuple[str, ...]
    """Those with a mapping, in alphabetical order."""

    def query(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            return connection.execute(statement, parameters or None).fetchall()

    def written(self) -> set[str]:
        """Return the tenants of whose claims any has an organization."""
        columns = self.query(
            "SELECT FROM information_schema.columns WHERE table_name = 'claims'"
            " AND column_name = 'organization_id'"
        )
        if not columns:
            return set()
        rows = self.query("SELECT DISTINCT tenant_id FROM claims WHERE organization_id IS NOT NULL")
        return {row[0] for row in rows}


@pytest.fixture(scope="session")
def site(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    server = servers.get(NEWEST)
    database_url, storage_url = (server.url(server.create_database()) for _ in range(2))
    summary = create_sample(database_url, rows=3_000, tenants=6)
    with connect(database_url) as connection:
        install(connection, MigrationConfig())
        connection.cursor().executemany(
            "INSERT INTO public.tenant_org_mappings (tenant_id, organization_id) VALUES (%s, %s)",
            summary.mappings,
        )
        store_plan(connection, build_plan(connection, MigrationConfig()), "test")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home = tmp_path_factory.mktemp("dagster_home")
    environment = {
        **os.environ,
        DATABASE_URL_VARIABLE: database_url,
        DAGSTER_URL_VARIABLE: storage_url,
        "DAGSTER_HOME": str(home),
    }
    command = [sys.executable, "-m", "tenant_migration.cli", "dev", "--port", str(port)]
    with (home / "dev.log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            _wait_until_served(f"http://127.0.0.1:{port}/server_info", process, home / "dev.log")
            tenants = tuple(sorted(tenant for tenant, _ in summary.mappings))
            yield Site(f"http://127.0.0.1:{port}", database_url, tenants)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


def _wait_until_served(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(url, timeout=2):  # noqa: S310 - our own
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.5)
    pytest.fail(f"the UI did not start within {_START_S} s:\n{log.read_text()}")


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    named = os.environ.get(SCREENSHOTS_VARIABLE)
    folder = Path(named) if named else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    print(f"screenshots: {folder}")  # noqa: T201
    return folder


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - the other tiers do without it

    programs = [path for name in _CHROMIUMS if (path := shutil.which(name))]
    assert programs, f"none of {', '.join(_CHROMIUMS)} is installed: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=programs[0], args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any, site: Site, screenshots: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A page; what it shows in the end is kept, also when the test fails."""
    page = browser.new_page(viewport=_SIZE, base_url=site.url)
    page.set_default_timeout(30_000)
    yield page
    page.screenshot(path=screenshots / f"{request.node.name}.png")
    page.close()
