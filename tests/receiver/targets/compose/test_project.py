"""What a container is created with, as the engine shows it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from receiver.adapters.docker import Docker
from receiver.core.state import ServerSpec
from receiver.targets.compose.network import choose_address, require_network
from receiver.targets.compose.project import NewReplica, Place, create_replicas, new_group
from tests.contracts.target import spec
from tests.support.docker_engine import owned_place, required_docker, tiny_image
from tests.support.ports import free_port


def created(docker: Docker, place: Place, wanted: ServerSpec) -> str:
    address = choose_address(require_network(docker, place.owner), ())
    (name,) = create_replicas(docker, place, wanted, [NewReplica(new_group(place, wanted), 1, address)])
    return name


@pytest.mark.docker
def test_a_container_can_write_its_log_and_not_replace_its_key(tmp_path: Path) -> None:
    docker = required_docker()
    with owned_place(docker, tmp_path, tiny_image(docker)) as place:
        wanted = replace(spec(1, free_port()), log='{"hash":["$phone"]}')
        (place.cache / wanted.digest.removeprefix("sha256:")).mkdir(parents=True)
        container = created(docker, place, wanted)
        (found,) = json.loads(docker.run("inspect", "--type", "container", container))
        tried = "touch /inference-log/one; rm -f /inference-log/key; cat /inference-log/key | wc -c"
        assert docker.run("exec", container, "sh", "-c", tried).strip() == "32"
    environment = found["Config"]["Env"]
    assert {'PINRAIL_LOG={"hash":["$phone"]}', "PINRAIL_LOG_DIRECTORY=/inference-log"} <= set(environment)
    assert (tmp_path / "inference" / "segments" / "staging" / wanted.slot.model / "one").exists()


@pytest.mark.docker
def test_limits_beside_the_pin_are_the_containers(tmp_path: Path) -> None:
    docker = required_docker()
    with owned_place(docker, tmp_path, tiny_image(docker)) as place:
        wanted = replace(spec(1, free_port()), cpus=1.5, memory_mb=300)
        (place.cache / wanted.digest.removeprefix("sha256:")).mkdir(parents=True)
        (found,) = json.loads(docker.run("inspect", "--type", "container", created(docker, place, wanted)))
    limits = found["HostConfig"]
    assert (limits["CpuQuota"], limits["CpuPeriod"], limits["Memory"]) == (150_000, 100_000, 300 << 20)
    assert {"OMP_NUM_THREADS=1", "ORT_NUM_THREADS=1"} <= set(found["Config"]["Env"])


@pytest.mark.docker
def test_a_container_gets_gets_the_receivers_thread_settings_and_none_of_its_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "secret")
    docker = required_docker()
    with owned_place(docker, tmp_path, tiny_image(docker)) as place:
        wanted = spec(1, free_port())
        (place.cache / wanted.digest.removeprefix("sha256:")).mkdir(parents=True)
        container = created(docker, place, wanted)
        (found,) = json.loads(docker.run("inspect", "--type", "container", container))
    environment = found["Config"]["Env"]
    assert "OMP_NUM_THREADS=3" in environment
    assert not [entry for entry in environment if "secret" in entry]
