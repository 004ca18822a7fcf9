"""axe-core, which finds what keeps people from reading or using a page; `make axe` fetches it with npm."""

from pathlib import Path

from tests.support.chromium import Page

FILE = Path(__file__).parent / "axe" / "node_modules" / "axe-core" / "axe.min.js"
RUN = "axe.run().then(found => found.violations.map(one => `${one.id}: ${one.nodes[0].html.slice(0, 200)}`))"


def violations(page: Page) -> list[str]:
    """What it finds on the page that is open; nothing where it was not fetched."""
    if not FILE.exists():
        return []
    page.run(f"{FILE.read_text(encoding='utf-8')};0")
    found: list[str] = page.run(RUN)
    return found
