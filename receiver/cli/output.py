"""A command's answer on standard output: one view, as JSON for programs or text for people."""

import json
import sys
from collections.abc import Callable
from typing import TypeVar

from receiver.admin.views import as_json

View = TypeVar("View")


def answer(view: View, text: Callable[[View], str], *, json_wanted: bool) -> None:
    """Print a view as indented JSON, or as ``text`` makes it."""
    sys.stdout.write(json.dumps(as_json(view), indent=2) + "\n" if json_wanted else text(view))
