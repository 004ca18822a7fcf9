"""Images with the packages of versions: built by a real engine from an index on its bridge, whole or not at all."""

import ipaddress
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ml.packages.decision import Serving
from receiver.adapters.docker import Docker
from receiver.cli.doctor import engine as doctor
from receiver.core.deployment import Outcome
from receiver.core.errors import Rejected, Retryable, VersionFailed
from receiver.core.plan import ActionKind
from receiver.core.state import ServerSpec
from receiver.ports import never
from receiver.settings import Settings
from receiver.targets.compose import packages as module
from receiver.targets.compose import packages_build
from receiver.targets.compose.packages import ImagePackages, images_of_packages, packages_in
from receiver.targets.compose.packages_build import BASE, PACKAGES, base_repository, repository
from receiver.targets.compose.project import Place
from tests.contracts.target import spec
from tests.support import small_models
from tests.support.compose_stack import Stack
from tests.support.docker_engine import compose_target, owned_place, required_docker, tiny_image
from tests.support.own_environments import PROXIES
from tests.support.package_index import Index, running_index
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[4]
NOTHING = Serving({}, {})  # what a model server needs: here it is the small one of the tests
MOST, OLD = "small==2.0\npackaging==999.0\n", "small==1.0\nbase==1.0\n"
EMPTY_TAR = b"\0" * 10_240
SECRET = "a-password-for-the-index"

pytestmark = [pytest.mark.docker, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def engine() -> Docker:
    return required_docker()


@pytest.fixture(scope="module")
def ours(engine: Docker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One owner for all tests: what one has built, others find."""
    with owned_place(engine, tmp_path_factory.mktemp("state"), tiny_image(engine)) as place:
        yield place


@pytest.fixture
def index(engine: Docker, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    monkeypatch.setattr(module, "serving", lambda: NOTHING)
    for name in PROXIES:
        monkeypatch.delenv(name)
    subnet = engine.run("network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Subnet}}").strip()
    with running_index(str(ipaddress.ip_network(subnet)[1])) as found:
        monkeypatch.setenv("UV_DEFAULT_INDEX", found.url.replace("//", f"//someone:{SECRET}@"))
        monkeypatch.setenv("UV_HTTP_RETRIES", "0")
        found.add("small", "1.0")
        found.add("small", "2.0", ["base<2"])
        found.add("base", "1.0")
        found.add("base", "2.0")
        found.add("pandas", "0.1")
        found.add("packaging", "999.0")
        yield found


def version(place: Place, number: int, requirements: str, python: str = "") -> ServerSpec:
    """One whose artifacts ask for these packages."""
    found = spec(number, 8000)
    artifacts = place.cache / found.digest.removeprefix("sha256:")
    if not artifacts.is_dir():
        small_models.save_classifier(artifacts, twin=False)
    (artifacts / "requirements.txt").write_text(requirements)
    return found


def images(docker: Docker, place: Place) -> list[str]:
    return [image.name for image in images_of_packages(docker, place.owner)]


def run(docker: Docker, image: str, code: str) -> str:
    return docker.run(
        "run", "--rm", "--network=none", "--read-only", "--entrypoint=python", image, "-c", code
    ).strip()


def test_an_image_has_the_packages_and_all_of_the_serving_image(engine: Docker, ours: Place, index: Index) -> None:
    packages, first, second = ImagePackages(engine, ours), *(version(ours, n, MOST) for n in (1, 2))
    assert re.fullmatch(r"small==2\.0, packaging==999\.0 \(here is .*\) \(image\)", packages.missing(first))
    made = packages.image(first, never)
    assert packages.missing(first) == ""
    assert f"{packages.unverified(first)} (image)" == ImagePackages(engine, replace(ours, owner="another")).missing(
        first
    )
    assert (
        run(engine, made, "import small, base, os; print(small.VERSION, base.VERSION, os.getuid())")
        == "2.0 1.0 10001"
    )
    assert run(engine, made, "import serving, tests.support.tiny_container as t; print(t.DIES_SOON)") == "912"
    configured = [
        json.loads(engine.run("image", "inspect", "--format", "{{json .Config}}", x)) for x in (made, ours.image)
    ]
    assert (
        len({str([found.get(key) for key in ("Entrypoint", "Cmd", "User", "Healthcheck")]) for found in configured})
        == 1
    )
    assert run(engine, made, "import packaging; print(packaging.VERSION)") == "999.0", "not the serving image's"
    assert [packages_in(engine, made)[name] for name in ("small", "packaging")] == ["2.0", "999.0"]
    [image] = images_of_packages(engine, ours.owner)
    assert (image.name, image.packages) == (made, packages.unverified(first))
    assert 0 < image.own_bytes < 20e6
    shown = doctor.engine(
        Settings(
            pinrail_state_dir=ours.state,
            pinrail_target="compose",
            pinrail_project=ours.owner,
            pinrail_serving_image=ours.image,
        )
    )
    assert re.search(r"; images of packages \d MB \(small==2\.0, packaging==999\.0 .*: \d MB\);", shown.found)

    index.status = 503
    assert packages.image(second, never) == made, "the same packages, the same image; nobody is asked"
    assert ImagePackages(engine, ours).image(first, never) == made, "the next receiver finds it"
    everything = engine.run("image", "inspect", made) + engine.run("history", "--no-trunc", made)
    assert SECRET not in everything
    assert index.url not in everything


def test_what_cannot_be_installed_is_the_versions_fault_and_an_index_that_fails_is_not(
    engine: Docker, ours: Place, index: Index
) -> None:
    packages, before = ImagePackages(engine, ours), images(engine, ours)
    with pytest.raises(VersionFailed, match=r"small>=2\.0 depends on base<2"):
        packages.image(version(ours, 4, "small==2.0\nbase==2.0\n"), never)
    index.status = 503
    with pytest.raises(Retryable, match="503") as unavailable:
        packages.image(version(ours, 6, "small==1.0\n"), never)
    assert SECRET not in str(unavailable.value)
    assert images(engine, ours) == before


def test_another_python_than_the_images_is_refused_by_name(engine: Docker, ours: Place, index: Index) -> None:
    wanted = version(ours, 8, "small==1.0\n")
    artifacts = ours.cache / wanted.digest.removeprefix("sha256:")
    (artifacts / "python_env.yaml").write_text("python: 3.12.1\n")
    model = (artifacts / "MLmodel").read_text()
    (artifacts / "MLmodel").write_text(model.replace("python_function:", "python_function:\n    python_model: x.pkl"))
    with pytest.raises(Rejected, match=r"code of Python 3\.12, and the image has Python 3\.11: .*PINRAIL_BASE_IMAGE"):
        ImagePackages(engine, ours).missing(wanted)
    assert index.asked == []


class GivesWayError(Exception):
    """The deployment has to give way."""


def test_a_build_gives_way_at_once_and_leaves_nothing(engine: Docker, ours: Place, index: Index) -> None:
    index.answering.clear()
    before = images(engine, ours)

    def stop() -> None:
        if index.asked:
            raise GivesWayError

    with pytest.raises(GivesWayError):
        ImagePackages(engine, ours).image(version(ours, 9, OLD), stop)
    eventually(lambda: not _building(), 20)
    assert images(engine, ours) == before


def test_a_receiver_that_is_killed_while_it_builds_leaves_nothing_half_believed(
    engine: Docker, ours: Place, index: Index
) -> None:
    index.answering.clear()
    hashed = [f"{name}=={it} {index.hash_of(name, it)}\n" for name, it in (("base", "2.0"), ("pandas", "0.1"))]
    wanted = version(ours, 10, "".join(hashed))
    assert ImagePackages(engine, ours).unverified(wanted) == "", "nothing without a hash is installed"
    code = (
        "from pathlib import Path\n"
        "from receiver.targets.compose import packages\n"
        "from tests.contracts.target import spec\n"
        "packages.serving = lambda: packages.Serving({}, {})\n"
        f"place = packages.Place({ours.owner!r}, Path({str(ours.state)!r}), '127.0.0.1', {ours.image!r})\n"
        "packages.ImagePackages(packages.Docker(), place).image(spec(10, 8000), lambda: None)"
    )
    builder = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    try:
        eventually(lambda: bool(index.asked), 100)
    finally:
        builder.kill()
        builder.wait()
    packages = ImagePackages(engine, ours)
    assert packages.missing(wanted) == "base==2.0, pandas==0.1 (image)"
    index.answering.set()
    assert run(engine, packages.image(wanted, never), "import base; print(base.VERSION)") == "2.0"


def test_without_buildkit_the_older_builder_does_it_and_leaves_no_stage(
    engine: Docker, ours: Place, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_BUILDKIT", "0")
    docker = Docker()
    for user in (packages_build, sys.modules["receiver.targets.compose.build"]):
        monkeypatch.setattr(user, "builder_options", lambda _: None)
    made = ImagePackages(docker, ours).image(version(ours, 11, OLD), never)
    assert run(docker, made, "import small; print(small.VERSION)") == "1.0"
    left = docker.run("image", "ls", "--quiet", "--filter", "label=io.pinrail.part=packages-stage").split()
    assert left == []
    assert SECRET not in docker.run("history", "--no-trunc", made)


def test_what_nobody_used_for_long_goes_and_what_is_needed_for_a_way_back_stays(
    engine: Docker, ours: Place, index: Index
) -> None:
    packages = ImagePackages(engine, ours)
    kept, gone = version(ours, 12, MOST), version(ours, 13, OLD)
    names = [packages.image(one, never) for one in (kept, gone)]
    assert packages.prune([kept.digest], 3600, 1) == 0, "used today"
    assert packages.prune([kept.digest], -1, 1e12) > 0
    assert set(names) & set(images(engine, ours)) == {names[0]}
    held = engine.run("create", names[0]).strip()
    try:
        assert packages.prune([], -1, 1e12) == 0, "a container is made of it"
    finally:
        engine.run("rm", held)
    assert packages.prune([], -1, 1e12) == 1
    assert images(engine, ours) == []


def test_an_earlier_serving_image_goes_and_hides_nothing_that_was_built_on_it(engine: Docker, ours: Place) -> None:
    """One that somebody has removed already among them."""
    bases = base_repository(ours.owner)
    engine.run("tag", ours.image, f"{bases}:now")
    engine.run("import", "-", f"{bases}:before", stdin=EMPTY_TAR)
    labels = [f"--change=LABEL {BASE}=sha256:{'0' * 64}", f"--change=LABEL {PACKAGES}=small==1.0"]
    engine.run("import", *labels, "-", f"{repository(ours.owner)}:orphan", stdin=EMPTY_TAR)
    assert images(engine, ours) == [f"{repository(ours.owner)}:orphan"]
    assert ImagePackages(engine, ours).prune([], -1, 1e12) == 1
    assert images(engine, ours) == []
    assert not engine.has_image(f"{bases}:before")
    assert engine.has_image(f"{bases}:now"), "the next build begins from it"


def test_a_version_is_promoted_with_its_packages_and_rolled_back(docker: Docker, place: Place, index: Index) -> None:
    stack = Stack(docker, place, watch_seconds=0.3)
    stack.offer(1, 4)
    stack.offer(2, requirements="small==1.0\n")
    stack.offer(3, requirements="small==1.0\nbase==9.0\n")
    assert stack.promote(1).state is Outcome.LIVE

    index.status = 503
    waiting = stack.promote(2)
    assert (waiting.state, stack.answering()) == (Outcome.INTERRUPTED, 1)
    assert "cannot be installed now" in waiting.reason
    assert stack.journal.quarantined() == []
    index.status = 200
    stack.run("timer")
    assert stack.answering() == 2
    done = [step.action for step in stack.journal.steps(stack.journal.recent(1)[0].id)]
    assert [action.kind for action in done][:2] == [ActionKind.INSTALL, ActionKind.START]
    assert str(done[0]) == "install v2: - -> small==1.0 (image)"

    failed = stack.promote(3)
    assert (failed.state, stack.answering()) == (Outcome.ROLLED_BACK, 2)
    assert "base" in failed.reason
    assert stack.promote(4).state is Outcome.LIVE
    index.status = 503
    assert stack.promote(2).state is Outcome.LIVE, "its image is here"
    [live] = [server for server in stack.servers() if server.role == "live"]
    image = docker.run("inspect", "--format", "{{.Config.Image}}", live.id).strip()
    assert image in images(docker, place)
    docker.run("kill", live.id)
    again = compose_target(docker, place)  # the next receiver's
    stack.run("timer")
    assert stack.answering() == 2
    assert again.missing_packages(live.spec) == ""


def test_where_the_serving_image_is_not_here_nothing_is_known_about_packages(
    engine: Docker, ours: Place, index: Index
) -> None:
    gone = compose_target(engine, replace(ours, image="pinrail-test:not-here"))
    wanted = version(ours, 14, "small==1.0\n")
    assert gone.missing_packages(wanted) == "", "its start says that the image is not here"
    with pytest.raises(Rejected, match="pinrail build"):
        gone.install(wanted)
    assert index.asked == []


def _building() -> list[str]:
    """Programs of a build that run on this machine, in whichever container."""
    time.sleep(0.1)
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if "pinrail-packages.sh" in words:
            found.append(words)
    return found
