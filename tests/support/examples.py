"""How many examples a property is tried with: all of them in CI, a few on a developer's machine."""

import os

from hypothesis import settings

SHARE = 5  # a developer's machine tries every fifth

settings.register_profile("ci", max_examples=100, deadline=None)
settings.register_profile("dev", max_examples=100 // SHARE, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if "CI" in os.environ else "dev"))


def examples(full: int) -> int:
    """``full`` under the profile ``ci``; under ``dev`` as many as suffice to try a change."""
    return full if settings.get_current_profile_name() == "ci" else max(5, full // SHARE)
