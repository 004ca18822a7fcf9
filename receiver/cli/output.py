"""A command's answer on standard output: one view, as JSON for programs or text for people."""

import json
import sys
from collections.abc import Callable
from typing import TypeVar

View = TypeVar("View")


def answer(view: View, text: Callable[[View], str], *, json_wanted: bool) -> None:
    """Print a view as indented JSON, or as ``text`` makes it."""
    if not json_wanted:
        sys.stdout.write(text(view))
        return
    from receiver.admin.views import as_json

    sys.stdout.write(json.dumps(as_json(view), indent=2) + "\n")
