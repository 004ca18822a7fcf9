import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from receiver.adapters.prober import HttpProber
from tests.contracts.prober import ProberContract, Rig
from tests.contracts.target import spec
from tests.support import tiny_server
from tests.support.fake_target import FakeTarget
from tests.support.flow import FakeProber
from tests.support.models import artifact_only_files
from tests.support.ports import free_port
from tests.support.process_target import cleaned_up, process_target


class TestFakeProber(ProberContract):
    @pytest.fixture
    def rig(self, tmp_path: Path) -> Rig:
        prober, target = FakeProber(), FakeTarget()
        prober.failing_smoke.add(2)
        prober.slow_watch.add(3)
        prober.without_example.add(4)
        return Rig(prober, target, lambda version: target.start(spec(version, 8000)), tmp_path, 2, 3, (4, tmp_path))


class TestHttpProber(ProberContract):
    @pytest.fixture
    def rig(self, tmp_path: Path) -> Iterator[Rig]:
        artifacts = tmp_path / "model"
        artifacts.mkdir()
        for name, content in artifact_only_files().items():
            (artifacts / name).write_text(content)
        bare = tmp_path / "bare"
        bare.mkdir()
        described = json.loads(artifact_only_files()["MLmodel"])
        del described["saved_input_example_info"]
        (bare / "MLmodel").write_text(json.dumps(described))
        with cleaned_up(tmp_path / "state") as state:
            target = process_target(state)
            yield Rig(
                HttpProber(),
                target,
                lambda version: target.start(spec(version, free_port())),
                artifacts,
                tiny_server.PREDICTS_NAN,
                tiny_server.DIES_AFTER_AN_ANSWER,
                (4, bare),
            )
