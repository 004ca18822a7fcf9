"""From ``log:`` in an environment file to ``pinrail requests``, with a real receiver and a real model."""

import contextlib
import http.client
import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from serving.model.model_dir import input_example
from tests.support.models import Versions
from tests.support.waiting import eventually
from tests.support.world import World

pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]


def test_what_callers_ask_can_be_listed_and_a_change_of_the_log_fails_no_request(
    tmp_path: Path, versions: Versions
) -> None:
    with World(tmp_path, versions, stabilise_seconds=0.2, replicas=2) as world, world.program():
        world.commit(versions.good)
        world.push()
        eventually(lambda: world.verified() == versions.good and world.idle(), 60)
        example = input_example(next((world.state / "cache").glob("[0-9a-f]*")))[0]
        said = world.command("requests", "staging", world.model)
        assert said.returncode == 1
        assert "add `log: {}` to environments/staging.yaml" in said.stderr
        text = world.origin.text("main", "environments/staging.yaml")
        column = next(iter(example))
        world.origin.commit({"environments/staging.yaml": f"{text}\nlog: {{caller: X-Caller, drop: [{column}]}}\n"})
        world.push()

        def recorded() -> list[dict[str, Any]]:
            ask(world.port, example)
            done = world.command("requests", "staging", world.model, "--caller", "shop", "--limit", "500", "--json")
            return json.loads(done.stdout) if done.returncode == 0 else []

        eventually(recorded, 60)
        first = recorded()[-1]
        assert (first["version"], first["status"]) == (versions.good, 200)
        assert first["inputs"].keys() == example.keys() - {column}
        assert [deployment.state for deployment in world.deployments()] == ["live", "live"]
        assert ask_each_replica(world.port, example) == {1, 2}
        eventually(lambda: {"by-0", "by-1", "by-2", "by-3"} <= {request["request_id"] for request in recorded()}, 30)
        assert "2 of 2 replicas" in world.command("status").stdout


def ask(port: int, example: dict[str, Any]) -> None:
    headers = {"Content-Type": "application/json", "X-Caller": "shop"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/predict", json.dumps(example).encode(), headers)
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert answer.status == 200


def ask_each_replica(port: int, example: dict[str, Any]) -> set[int]:
    """Ask over four connections that stay open, with a request id for each; returns which replicas answered."""
    found = set()
    with contextlib.ExitStack() as opened:
        for number in range(4):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            opened.enter_context(contextlib.closing(connection))
            headers = {"Content-Type": "application/json", "X-Caller": "shop", "X-Request-ID": f"by-{number}"}
            connection.request("POST", "/predict", json.dumps(example), headers)
            assert connection.getresponse().read()
            connection.request("GET", "/health")
            found.add(json.loads(connection.getresponse().read())["replica"])
    return found
