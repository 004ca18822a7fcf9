"""A version that passed everything, answers wrongly in production, and is found out by its labels."""

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from serving.model.model_dir import input_example
from tests.support.git_repos import Origin
from tests.support.github_server import FakeGitHub, serving
from tests.support.github_spec import require_description
from tests.support.models import Versions
from tests.support.ports import free_port
from tests.support.receiver_program import Receiver, serving_version
from tests.support.waiting import eventually

require_description()
pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]

TOKEN = "a-token-for-labels"
LIVE = "policy: {live: {accuracy: {min: 0.75, labels: 40}, on_fail: revert}}"


def environment(model: str, version: int, port: int) -> dict[str, str]:
    text = (
        f"environment: staging\nregistry: {{stage: Staging, alias: staging}}\n{LIVE}\ngate: {{}}\nlog: {{}}\n"
        f"models:\n  {model}:\n    version: {version}\n    port: {port}\n"
    )
    return {"environments/staging.yaml": text}


def test_a_version_that_labels_find_out_gets_a_revert_and_the_merge_brings_the_old_one_back(
    tmp_path: Path, versions: Versions
) -> None:
    origin, port = Origin(tmp_path / "git"), free_port()
    repository = f"{origin.path.parent.name}/{origin.path.stem}"
    github = FakeGitHub(repository, origin)
    push = {"ref": "refs/heads/main", "repository": {"full_name": repository}, "commits": []}
    origin.commit(environment(versions.model, versions.good, port))
    with serving(github):
        receiver = Receiver(tmp_path, github, versions.tracking_uri)
        receiver.environment["PINRAIL_LABELS_TOKEN"] = TOKEN
        with receiver.running(tmp_path):
            eventually(lambda: serving_version(port) == versions.good, 60)
            eventually(lambda: live(receiver, versions.good), 60)
            origin.commit(environment(versions.model, versions.better, port))
            receiver.github("push", push)
            eventually(lambda: live(receiver, versions.better), 60)
            eventually(lambda: [each["ready"] for each in status(receiver)["ways_back"]] == [True], 30)
            (way_back,) = status(receiver)["ways_back"]
            assert way_back["version"] == versions.good
            assert 0 < way_back["start_seconds"] < 60, "as it was measured when that version started"

            example = input_example(next((receiver.state / "cache").glob("[0-9a-f]*")))[0]
            labels = [
                {"request_id": f"order-{n}", "label": 1 - predicted(port, example, f"order-{n}")} for n in range(60)
            ]
            assert hand_in(receiver, versions.model, labels) == {"new": 60, "same": 0, "replaced": 0}

            eventually(lambda: github.pulls, 60)
            ((number, pull),) = github.pulls.items()
            assert (
                pull["title"] == f"Roll {versions.model} back to v{versions.good} in staging (was v{versions.better})"
            )
            assert "0 of 60 labelled answers are right: accuracy 0.0000" in pull["body"]
            assert serving_version(port) == versions.better, "people merge it"
            (figures,) = status(receiver)["realised"]
            assert (figures["outcome"], figures["labels"], figures["value"]) == ("FAIL", 60, 0.0)

            merge(github, number)
            receiver.github("push", push)
            eventually(lambda: serving_version(port) == versions.good, 60)
            assert len(github.pulls) == 1


def live(receiver: Receiver, version: int) -> bool:
    found = status(receiver)["environments"]
    return bool(found) and (found[0]["serving_version"], found[0]["state"]) == (version, "in sync")


def predicted(port: int, example: dict[str, Any], request_id: str) -> int:
    headers = {"Content-Type": "application/json", "X-Request-ID": request_id}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/predict", json.dumps(example).encode(), headers)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return int(json.load(answer)["predictions"][0])


def hand_in(receiver: Receiver, model: str, labels: list[dict[str, Any]]) -> Any:
    body = json.dumps({"model": model, "labels": labels}).encode()
    headers = {"Authorization": f"Bearer {TOKEN}"}
    request = urllib.request.Request(f"http://127.0.0.1:{receiver.admin}/api/labels", body, headers)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


def status(receiver: Receiver) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{receiver.admin}/api/environments", timeout=20) as answer:
        return json.load(answer)


def merge(github: FakeGitHub, number: int) -> None:
    pull = github.pulls[number]
    github._merge_in_git(pull, github.head_of(pull["head"]), pull["title"])
    pull |= {"state": "closed", "merged": True}
