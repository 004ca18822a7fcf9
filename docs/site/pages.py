"""The pages of the site that are no files of ``docs``, and links that lead the same way there as on GitHub."""

import posixpath
import re
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]

# File of the repository -> page of the site. What is in ``docs`` is a page of its own.
OUTSIDE: Mapping[str, str] = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "environments/README.md": "environments.md",
    ".github/SECURITY.md": "vulnerabilities.md",
}
# A folder -> the page that lists what is in it.
FOLDERS: Mapping[str, str] = {"docs/schemas": "reference/schemas.md", "docs/adr": "adr/index.md"}
LINK = re.compile(
    r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<target>(?!https?:|mailto:|#)[^)#\s]+)(?P<anchor>#[^)\s]*)?\)"
)


def page_of(file: str) -> str | None:
    """The page that shows a file or folder of the repository; None: there is none."""
    listed = {**OUTSIDE, **FOLDERS}.get(file)
    if listed is not None:
        return listed
    return file.removeprefix("docs/") if file.startswith("docs/") else None


def with_links(text: str, file: str) -> str:
    """The text of a file of the repository, with its links as they are between pages.

    A file that has no page, such as a source file, is named without a link. A link to what does not exist stays, so
    that the build fails.
    """
    here = page_of(file) or ""

    def replaced(found: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(file), found["target"]))
        page = page_of(target)
        if page is None:
            return found["text"] if (ROOT / target).exists() else found[0]
        path = posixpath.relpath(page, posixpath.dirname(here) or ".")
        return f"{found['image']}[{found['text']}]({path}{found['anchor'] or ''})"

    return LINK.sub(replaced, text)


def outside_pages() -> dict[str, str]:
    """The pages of files that are not in ``docs``, with their texts."""
    return {page: with_links((ROOT / file).read_text(encoding="utf-8"), file) for file, page in OUTSIDE.items()}


def decisions() -> str:
    """The list of decisions, newest last."""
    rows = []
    for file in sorted((ROOT / "docs/adr").glob("[0-9]*.md")):
        title = file.read_text(encoding="utf-8").split("\n", 1)[0].removeprefix("# ")
        rows.append(f"- [{title}]({file.name})\n")
    return "# Decisions\n\nChoices that are hard to undo, with their reasons.\n\n" + "".join(rows)
