"""Makes the pictures of the tutorial anew, in the order of its steps, by clicking as it says.

    tenant-migration quickstart --reset && tenant-migration dev --quickstart
    python -m tenant_migration_tests.documentation.pictures http://127.0.0.1:3000 [--chromium PATH]

Needs playwright and a Chromium, which the tests do not. Look at what it made before you commit it.
"""

from __future__ import annotations

import argparse
from typing import Any

from tenant_migration_tests.documentation import DOCS

FOLDER = DOCS / "pictures"
TENANT = "o'brien-shipyard"
SIZE = {"width": 1280, "height": 760}
SETTLE_MS = 4_000
RUN_MS = 20_000
"""Longer than a rollback or a migration of one tenant of the sample takes."""


def main() -> None:
    """Make all of them."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - no requirement of the tests

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    arguments = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=arguments.chromium, args=["--no-sandbox"])
        tour = _Tour(browser.new_page(viewport=SIZE), arguments.url)
        tour.partition()
        tour.roll_back()
        tour.migrate_again()
        tour.graph()
        browser.close()


class _Tour:
    def __init__(self, page: Any, url: str) -> None:
        self._page = page
        self._url = url

    def partition(self) -> None:
        self._open("/assets/public/claims?view=partitions&partition=T-00001")
        self._take("partitions")

    def roll_back(self) -> None:
        self._open("/locations/tenant_migration/jobs/rollback/playground")
        self._page.get_by_placeholder("Partition").fill(TENANT)
        self._choose(TENANT)
        self._page.get_by_role("button", name="Launch Run").click()
        self._page.wait_for_timeout(RUN_MS)
        self._open("/assets/public/claims?view=checks&checkDetail=verification")
        self._take("rolled-back")

    def migrate_again(self) -> None:
        self._open("/locations/tenant_migration/jobs/migrate")
        self._page.get_by_role("button", name="Materialize").first.click()
        self._page.wait_for_timeout(SETTLE_MS)
        self._page.get_by_text("Select a partition or create one").click()
        self._page.keyboard.type(TENANT)
        self._choose(TENANT)
        self._page.keyboard.press("Escape")
        self._page.wait_for_timeout(SETTLE_MS)
        self._take("backfill")
        self._page.get_by_role("button", name="Launch").last.click()
        self._page.wait_for_timeout(RUN_MS)

    def graph(self) -> None:
        self._open("/locations/tenant_migration/asset-groups/public")
        self._page.mouse.move(500, 380)
        self._page.keyboard.down("Control")
        for _ in range(3):  # zoom out
            self._page.mouse.wheel(0, 120)
            self._page.wait_for_timeout(300)
        self._page.keyboard.up("Control")
        self._page.wait_for_timeout(SETTLE_MS)
        self._take("asset-graph")

    def _open(self, path: str) -> None:
        self._page.goto(f"{self._url}{path}")
        self._page.wait_for_timeout(SETTLE_MS)

    def _choose(self, text: str) -> None:
        self._page.wait_for_timeout(1_500)
        self._page.locator(f"text={text} >> visible=true").first.click()

    def _take(self, name: str) -> None:
        path = FOLDER / f"{name}.png"
        self._page.screenshot(path=path)
        print(f"{path}: {path.stat().st_size:,} bytes")  # noqa: T201


if __name__ == "__main__":
    main()
