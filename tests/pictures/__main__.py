"""``python -m tests.pictures``: the docs' pictures, and each page at three widths, light and dark, in ``.pictures``.

Needs Chromium, and a font with emoji for the plan comment (Debian: fonts-noto-color-emoji). Look at what it made
before you commit ``docs/pictures``. With ``--demo`` it also runs the demo, for the recording of a terminal.
"""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from pydantic import SecretStr

from receiver.admin.actions import Actions
from receiver.admin.app import admin_config
from receiver.admin.details import Sources
from receiver.core.redact import Redactor
from receiver.daemon.listener import Listener
from tests.pictures.plan_comment import plan_comment_page
from tests.pictures.recording import recording
from tests.support.chromium import Page, browser, find_browser
from tests.support.flow import Flow
from tests.support.journal_of_months import fill

ROOT = Path(__file__).parent.parent.parent
WIDTHS = (390, 768, 1280)
PATHS = {
    "overview": "/",
    "trouble": "/?state=trouble&q=model",
    "model": "/models/production/churn-model",
    "promote": "/models/production/churn-model/promote",
    "deployment": "/deployments/5",
    "deployments": "/deployments",
    "deliveries": "/deliveries",
}


def main() -> None:
    """Make them."""
    program = find_browser()
    if program is None:
        sys.exit("found no Chromium: apt-get install chromium")
    everything, docs = ROOT / ".pictures", ROOT / "docs/pictures"
    for directory in (everything, docs):
        directory.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary, browser(program) as page:
        _dashboard(Path(temporary), page, everything, docs)
        comment = Path(temporary) / "comment.html"
        comment.write_text(plan_comment_page())
        page.open(comment.as_uri(), 860)
        (docs / "plan-comment.png").write_bytes(page.picture())
    if "--demo" in sys.argv:
        (docs / "demo.svg").write_text(recording())
    print(f"made {docs} and {everything}")  # noqa: T201 - a script


def _dashboard(directory: Path, page: Page, everything: Path, docs: Path) -> None:
    database, report = fill(directory / "pinrail.db", 260, 6)
    rows = [replace(row, url=None) for row in report.slots]
    services = Flow(directory / "flow").services
    actions = Actions(SecretStr("a token for pictures"), services, lambda _: _nobody(), Redactor())
    config = admin_config(database, lambda: replace(report, slots=rows), 0, None, Sources(actions=actions))
    listener = Listener(config, "admin")
    listener.start()
    base = f"http://127.0.0.1:{listener.port}"
    for name, path in PATHS.items():
        for width in WIDTHS:
            for dark in (False, True):
                page.open(base + path, width, dark=dark)
                if page.overflow() > 0:
                    sys.exit(f"{path} is wider than {width} pixels")
                scheme = "dark" if dark else "light"
                (everything / f"{name}-{width}-{scheme}.png").write_bytes(page.picture())
    for name, height in (("overview", 900), ("model", 560)):
        page.open(base + PATHS[name], 1180)
        (docs / f"{name}.png").write_bytes(page.picture(whole=False, height=height))
    listener.stop()
    database.close()


def _nobody() -> NoReturn:
    raise RuntimeError("a picture does nothing")


if __name__ == "__main__":
    main()
