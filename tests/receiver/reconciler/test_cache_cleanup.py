"""What runs or was verified stays in the cache however old it is; what nobody used for long goes."""

import math
import os
import threading
import time
from pathlib import Path

from receiver.reconciler.cache_cleanup import DAY, HOUR, UNUSED_DAYS, CacheCleanup
from serving.model.digest import digest_tree
from serving.model.loader import Cache
from tests.support.flow import MODEL, Flow


def _entry(cache: Cache, source: Path) -> tuple[Path, str]:
    """A directory in the cache, last used longer ago than anything is kept."""
    digest = digest_tree(source)
    place = cache.root / digest.removeprefix("sha256:")
    cache.root.mkdir(exist_ok=True)
    source.rename(place)
    os.utime(place, (time.time() - (UNUSED_DAYS + 1) * DAY,) * 2)
    return place, digest


def test_versions_go_that_neither_run_nor_were_verified(tmp_path: Path) -> None:
    settled = Flow(tmp_path)
    settled.register(1)
    settled.pin(staging=1, production=1)
    settled.run()
    cache = Cache(tmp_path / "cache")
    (tmp_path / "unused").mkdir()
    (tmp_path / "unused" / "file").write_text("nobody's")
    unused, _ = _entry(cache, tmp_path / "unused")
    live, digest = _entry(cache, settled.registry.models[MODEL][1].path)
    assert digest in {server.spec.digest for server in settled.target.observe()}

    housekeeping = CacheCleanup(settled.services, {"versions": cache}, math.inf)
    again = housekeeping.tidy(threading.Event())
    assert (unused.exists(), live.exists()) == (False, True)
    assert again > time.time() + HOUR / 2

    unused.mkdir()
    os.utime(unused, (0, 0))
    housekeeping.tidy(threading.Event())
    assert unused.exists(), "not more than once a day"
