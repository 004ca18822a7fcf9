"""Where the files are that are no Python: beside the packages in a clone, in ``receiver/shipped`` of a wheel."""

from pathlib import Path

PACKAGES = Path(__file__).parents[3]  # a clone, or site-packages
_IN_WHEEL = PACKAGES / "receiver" / "shipped"  # made by the build, see pyproject.toml
SHIPPED = _IN_WHEEL if _IN_WHEEL.is_dir() else PACKAGES
