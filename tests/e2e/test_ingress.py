"""``pinrail up`` behind a tunnel: GitHub's deliveries reach it, and what is down keeps it from nothing."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.github_server import TOKEN, FakeGitHub, Fault, serving
from tests.support.github_spec import require_description
from tests.support.intake import github_headers
from tests.support.intake import push as push_payload
from tests.support.models import Versions
from tests.support.ngrok import install_ngrok
from tests.support.waiting import eventually
from tests.support.world import World

require_description()

pytestmark = pytest.mark.long

NGROK_TOKEN = "2abcDEF_ngrok-token"


@pytest.fixture
def world(tmp_path: Path, versions: Versions) -> Iterator[World]:
    """A world whose receiver has tokens for ngrok and GitHub, and its first version pinned."""
    with World(tmp_path, versions, stabilise_seconds=0.2) as world:
        program = install_ngrok(tmp_path / "bin")
        world.environ |= {
            "PATH": f"{program.parent}:{os.environ['PATH']}",
            "NGROK_AUTHTOKEN": NGROK_TOKEN,
            "GITHUB_TOKEN": TOKEN,
        }
        world.commit(versions.good)
        yield world


def served(world: World, version: int) -> bool:
    return world.verified() == version and world.health()["version"] == version


def log_of(world: World) -> str:
    return (world.state / "receiver.log").read_text()


def deliver(github: FakeGitHub) -> int:
    """Deliver a push as GitHub does: to the URL of the one hook, signed."""
    (hook,) = github.hooks.values()
    body = push_payload()
    return httpx.post(hook["config"]["url"], content=body, headers=github_headers(body), timeout=10).status_code


@pytest.mark.timeout(300)  # it may be the one that trains the versions, on a machine that is busy
def test_a_push_through_the_tunnel_is_served_and_the_hook_follows_the_tunnel(
    world: World, versions: Versions
) -> None:
    github = FakeGitHub("owner/models")
    with serving(github) as url:
        world.environ["GITHUB_API_URL"] = url
        with world.program():
            eventually(lambda: github.hooks and served_or_none(world, versions.good), 60)
            (first,) = github.hooks.values()
            lines = (
                f"public URL: {first['config']['url'].removesuffix('/webhooks/github')}",
                f"webhook: {first['id']} of owner/models",
                f"dashboard: http://127.0.0.1:{world.environ['PINRAIL_ADMIN_PORT']}/",
                f"environments: staging ({versions.model} v{versions.good})",
                f"registry: {versions.tracking_uri}",
            )
            eventually(lambda: [line for line in lines if line not in log_of(world)] == [])

            world.commit(versions.better)
            assert deliver(github) == 202
            eventually(lambda: served(world, versions.better), 60)

            before = first["config"]["url"]
            os.kill(int((world.state / "ngrok/ngrok.pid").read_text()), signal.SIGKILL)
            eventually(lambda: next(iter(github.hooks.values()))["config"]["url"] != before, 30)
            assert [hook["id"] for hook in github.hooks.values()] == [first["id"]]
            world.commit(versions.good)
            assert deliver(github) == 202
            eventually(lambda: served(world, versions.good), 60)
        record = json.loads((world.state / "webhook.json").read_text())
        assert (record["repository"], record["hook"]) == ("owner/models", first["id"])
        said = log_of(world)
        assert not [s for s in (NGROK_TOKEN, TOKEN, world.environ["PINRAIL_WEBHOOK_SECRET"]) if s in said]


def served_or_none(world: World, version: int) -> bool:
    try:
        return served(world, version)
    except OSError:
        return False


def test_a_tunnel_and_a_github_that_are_down_keep_the_receiver_from_nothing(
    world: World, versions: Versions, tmp_path: Path
) -> None:
    program = tmp_path / "bin/ngrok"
    works = program.read_text()
    program.write_text("#!/bin/sh\nexit 3\n")
    github = FakeGitHub("owner/models")
    github.faults += [Fault(503), Fault(503)]
    with serving(github) as url:
        world.environ["GITHUB_API_URL"] = url
        with world.program():
            eventually(lambda: served_or_none(world, versions.good), 60)
            assert not github.hooks
            program.write_text(works)
            eventually(lambda: github.hooks, 60)
            eventually(lambda: "webhook: " in log_of(world), 30)
            assert not github.faults


def test_a_tunnel_without_a_token_is_refused_by_the_name_of_the_setting(world: World) -> None:
    del world.environ["NGROK_AUTHTOKEN"]
    done = world.command("up", "--tunnel", "ngrok")
    assert (done.returncode, "NGROK_AUTHTOKEN" in done.stderr) == (1, True)
