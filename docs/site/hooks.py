"""What MkDocs calls: it adds the pages that are generated or lie outside ``docs``, and mends links."""

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from docs.site.pages import decisions, outside_pages, with_links
from docs.site.reference import reference_pages


def on_files(files: Any, config: Any, **_: Any) -> Any:
    """Add pages."""
    from mkdocs.structure.files import File

    pages = {**outside_pages(), **reference_pages(), "adr/index.md": decisions()}
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links to files outside ``docs`` lead to their pages."""
    written = page.file.generated_by is None
    return with_links(markdown, f"docs/{page.file.src_uri}") if written else markdown
