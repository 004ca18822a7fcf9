import hashlib
import inspect
import os
import pickle
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from ml.registry.versions import write_evidence, write_report
from receiver.adapters.mlflow import calls as mlflow_call
from receiver.adapters.mlflow import search as mlflow_search
from receiver.adapters.mlflow.registry import MlflowRegistry
from receiver.core.errors import PinrailError, Rejected, Retryable
from receiver.core.state import Slot
from receiver.ports import Resolved
from receiver.pull_requests.comparison import compare
from serving.model.digest import digest_tree
from serving.model.download import Bounds
from serving.model.loader import Cache
from serving.model.small_files import EVIDENCE as EVIDENCE_FILE
from serving.model.small_files import REPORT
from tests.contracts.registry import EVIDENCE, FILES, new_name
from tests.support.fault_proxy import (
    HTML,
    UNAVAILABLE,
    Answer,
    Drip,
    Drop,
    DropAfter,
    Endless,
    FaultProxy,
    Hang,
    fault_proxy,
)
from tests.support.mlflow_server import AuthServer, register_version
from tests.support.ports import free_port
from tests.support.registry_views import resolve, view_of
from tests.support.waiting import eventually

FOREVER = float("inf")
ALIAS = "POST /api/2.0/mlflow/registered-models/alias"
STAGE = "POST /api/2.0/mlflow/model-versions/transition-stage"


@pytest.fixture
def proxy(mlflow_server: str) -> Iterator[FaultProxy]:
    with fault_proxy(mlflow_server) as proxy:
        yield proxy


@pytest.fixture
def registry(proxy: FaultProxy, tmp_path: Path) -> MlflowRegistry:
    return MlflowRegistry(proxy.url, Cache(tmp_path / "cache", proxy.url))


@pytest.fixture
def model(mlflow_server: str) -> str:
    """A registered model with two versions of the same artifacts."""
    name, client = new_name(), MlflowClient(mlflow_server)
    register_version(client, name, FILES)
    first = client.get_model_version(name, "1")
    client.create_model_version(name, first.source, first.run_id, await_creation_for=0)
    return name


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("receiver.adapters.mlflow.registry.CALL_SECONDS", 0.5)


def test_importing_the_adapter_does_not_import_mlflow() -> None:
    code = "import sys, receiver.adapters.mlflow.registry; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_look_does_not_wait_for_the_import_of_mlflow(proxy: FaultProxy, model: str, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from serving.model.loader import Cache\n"
        "from receiver.adapters.mlflow.registry import MlflowRegistry\n"
        f"seen = MlflowRegistry({proxy.url!r}, Cache(Path({str(tmp_path)!r}))).observe({{{model!r}: (1,)}})\n"
        f"print('mlflow' in sys.modules, seen[{model!r}].versions[1].status)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "READY"], done.stderr


def test_credentials_in_a_file_are_left_to_the_client(
    mlflow_auth_server: AuthServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / ".mlflow" / "credentials"
    file.parent.mkdir()
    name, password = mlflow_auth_server.username, mlflow_auth_server.password
    file.write_text(f"[mlflow]\nmlflow_tracking_username = {name}\nmlflow_tracking_password = {password}\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    registry = MlflowRegistry(mlflow_auth_server.url, Cache(tmp_path, mlflow_auth_server.url))
    assert registry.observe({"nobody": ()}) == {"nobody": None}


def test_a_registry_apart_from_the_tracking_server_is_the_one_that_is_asked(
    mlflow_server: str, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", mlflow_server)
    assert list(MlflowRegistry(nowhere, Cache(tmp_path, nowhere)).observe({model: ()})) == [model]


def test_the_client_is_kept_from_waiting_and_repeating_by_itself(registry: MlflowRegistry) -> None:
    assert registry
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "0"
    assert int(os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"]) <= 30


@pytest.mark.parametrize("fault", [HTML, UNAVAILABLE, Answer(500, b"{}"), Answer(200, b'{"a'), Drop()], ids=repr)
def test_an_answer_that_is_no_answer_is_tried_again_later(
    fault: Answer | Drop, proxy: FaultProxy, registry: MlflowRegistry, model: str
) -> None:
    proxy.plan(fault, times=FOREVER)
    with pytest.raises(Retryable) as caught:
        registry.observe({model: ()})
    assert len(str(caught.value)) < 500, "no page of HTML in a message"
    proxy.behave()
    assert model in registry.observe({model: ()})


@pytest.mark.usefixtures("_impatient")
@pytest.mark.parametrize("fault", [Hang(), Drip()], ids=["silence", "slow drip"])
def test_silence_and_a_slow_drip_end_at_the_deadline(
    fault: Hang | Drip, proxy: FaultProxy, registry: MlflowRegistry, model: str
) -> None:
    proxy.plan(fault, times=FOREVER)
    began = time.monotonic()
    with pytest.raises(Retryable, match="did not answer within"):
        registry.metrics(model, 1)
    assert time.monotonic() - began < 3


@pytest.mark.usefixtures("_impatient")
def test_a_look_at_few_models_is_over_as_soon_as_any_other_question(
    proxy: FaultProxy, registry: MlflowRegistry, model: str
) -> None:
    proxy.plan(Hang(), "registered-models/get", FOREVER)
    began = time.monotonic()
    with pytest.raises(Retryable, match=r"did not answer within 0\.5 s"):
        registry.observe({model: ()})
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("version", ['"NaN"', '"1e3"', '"-"'])
def test_an_alias_that_points_at_no_number_is_no_answer(
    proxy: FaultProxy, registry: MlflowRegistry, model: str, version: str
) -> None:
    aliases = f'[{{"alias": "staging", "version": {version}}}]'
    body = f'{{"registered_model": {{"name": "{model}", "aliases": {aliases}}}}}'
    proxy.plan(Answer(200, body.encode()), "registered-models/get")
    with pytest.raises(Retryable, match="makes no sense"):
        registry.observe({model: ()})
    assert model in registry.observe({model: ()})


def test_one_connection_that_died_does_not_fail_a_read(
    proxy: FaultProxy, registry: MlflowRegistry, model: str
) -> None:
    proxy.plan(Drop())
    assert model in registry.observe({model: ()})


@dataclass(frozen=True)
class Write:
    do: Callable[[MlflowRegistry, str], None]
    request: str


WRITES = [
    Write(lambda registry, model: registry.set_alias(model, "staging", 2), ALIAS),
    Write(lambda registry, model: registry.set_stage(model, 2, "Staging"), STAGE),
]


def sent(proxy: FaultProxy, write: Write) -> int:
    return sum(write.request in line for line in proxy.seen)


@pytest.mark.usefixtures("_impatient")
@pytest.mark.parametrize("write", WRITES, ids=["alias", "stage"])
@pytest.mark.parametrize("fault", [DropAfter(), Hang()], ids=["connection lost", "time out"])
def test_a_write_that_was_done_though_its_answer_was_lost_is_not_done_twice(
    fault: DropAfter | Hang, write: Write, proxy: FaultProxy, registry: MlflowRegistry, model: str
) -> None:
    proxy.plan(fault, write.request)
    write.do(registry, model)
    assert sent(proxy, write) == 1
    write.do(registry, model)
    assert sent(proxy, write) == 1, "it holds"


@pytest.mark.parametrize("write", WRITES, ids=["alias", "stage"])
def test_a_write_that_was_not_done_is_tried_once_more(
    write: Write, proxy: FaultProxy, registry: MlflowRegistry, model: str
) -> None:
    proxy.plan(UNAVAILABLE, write.request)
    write.do(registry, model)
    assert sent(proxy, write) == 2


@pytest.mark.parametrize("write", WRITES, ids=["alias", "stage"])
def test_a_write_that_the_registry_only_pretends_to_do_is_noticed(
    write: Write, proxy: FaultProxy, registry: MlflowRegistry, model: str
) -> None:
    proxy.plan(Answer(200, b"{}"), write.request, times=FOREVER)
    with pytest.raises(Retryable, match="does not show it"):
        write.do(registry, model)


@pytest.mark.parametrize("write", WRITES, ids=["alias", "stage"])
def test_a_write_that_holds_already_is_not_sent(
    write: Write, proxy: FaultProxy, registry: MlflowRegistry, model: str
) -> None:
    write.do(registry, model)
    write.do(registry, model)
    assert sent(proxy, write) == 1


@pytest.mark.parametrize(
    "answer",
    [
        Answer(404, b'{"error_code": "ENDPOINT_NOT_FOUND", "message": "no"}'),
        Answer(404, b"<html>not here</html>", "text/html"),
        Answer(501, b'{"error_code": "NOT_IMPLEMENTED", "message": "no"}'),
    ],
    ids=lambda answer: f"{answer.status} {answer.content_type}",
)
def test_a_registry_without_stages_says_what_to_take_out_of_the_environment_files(
    answer: Answer, proxy: FaultProxy, registry: MlflowRegistry, model: str
) -> None:
    proxy.plan(answer, STAGE, times=FOREVER)
    with pytest.raises(Rejected, match=r"no stages.*take `stage` out"):
        registry.set_stage(model, 1, "Staging")
    registry.set_alias(model, "staging", 1)


def test_moving_a_stage_warns_about_nothing_and_is_still_the_deprecated_call() -> None:
    move = MlflowClient.transition_model_version_stage
    assert "archive_existing_versions" in inspect.signature(inspect.unwrap(move)).parameters


def test_refused_credentials_name_the_variables_and_never_their_values(
    mlflow_auth_server: AuthServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "s3cret-and-wrong")
    registry = MlflowRegistry(mlflow_auth_server.url, Cache(tmp_path, mlflow_auth_server.url))
    for ask in (
        lambda: registry.observe({"churn-model": ()}),
        lambda: registry.fetch("churn-model", 1),
        lambda: registry.set_alias("churn-model", "staging", 1),
    ):
        with pytest.raises(Rejected, match="MLFLOW_TRACKING_TOKEN") as caught:
            ask()
        assert "s3cret" not in str(caught.value)


def test_what_a_server_echoes_of_our_credentials_is_masked(
    proxy: FaultProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "tok-123456")
    for url in (proxy.url, proxy.url.replace("http://", "http://me:hunter22@")):
        registry = MlflowRegistry(url, Cache(tmp_path, url))
        for status in (403, 503, 400):
            proxy.behave()
            proxy.plan(Answer(status, b"you sent tok-123456", "text/plain"), times=FOREVER)
            with pytest.raises(PinrailError) as caught:
                registry.observe({"churn-model": ()})
            assert "tok-123456" not in str(caught.value)
            assert "hunter22" not in str(caught.value)


def test_artifacts_that_we_may_not_have_are_a_matter_of_credentials(
    proxy: FaultProxy, registry: MlflowRegistry, model: str
) -> None:
    proxy.plan(Answer(403, b"no", "text/plain"), "mlflow-artifacts", times=FOREVER)
    with pytest.raises(Rejected, match=r"the artifacts of .*MLFLOW_TRACKING_TOKEN"):
        registry.fetch(model, 1)


def test_only_the_report_that_evidence_names_is_taken(
    mlflow_server: str, proxy: FaultProxy, registry: MlflowRegistry, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = MlflowClient(mlflow_server)
    evidence = replace(EVIDENCE, model=model, version=1)
    with pytest.raises(Rejected, match="is not among the run's artifacts"):
        registry.report(evidence)
    page = "<!doctype html>ümlaut"
    write_report(client, evidence, {"staging-report.html": page})
    with pytest.raises(Rejected, match="is not the one that the evidence names"):
        registry.report(evidence)
    named = replace(evidence, report=f"sha256:{hashlib.sha256(page.encode()).hexdigest()}")
    assert registry.report(named) == page.encode()
    monkeypatch.setattr("ml.registry.versions.REPORT", replace(REPORT, most=10))
    proxy.seen.clear()
    with pytest.raises(Rejected, match="is too large: found 22 bytes, allowed 10"):
        registry.report(named)
    assert not [line for line in proxy.seen if "staging-report.html" in line], "it was downloaded"


def downloads(proxy: FaultProxy) -> int:
    return sum("artifact" in line for line in proxy.seen)


def test_a_version_that_was_fetched_is_resolved_without_a_download_also_after_a_restart(
    proxy: FaultProxy, registry: MlflowRegistry, model: str, tmp_path: Path
) -> None:
    fetched = registry.fetch(model, 1)
    once = downloads(proxy)
    restarted = MlflowRegistry(proxy.url, Cache(tmp_path / "cache", proxy.url))
    assert [resolve(registry, model, 1), resolve(restarted, model, 1)] == [Resolved(fetched, None)] * 2
    assert downloads(proxy) == once
    assert resolve(restarted, model, 2) is None, "of the same artifacts, which nobody knows yet"


def test_a_version_that_was_registered_anew_under_its_number_is_not_taken_for_the_old_one(
    mlflow_server: str, registry: MlflowRegistry, model: str
) -> None:
    old, client = registry.fetch(model, 1), MlflowClient(mlflow_server)
    client.delete_registered_model(model)
    register_version(client, model, {**FILES, "data/weights.bin": b"anew"})
    assert resolve(registry, model, 1) is None
    assert registry.fetch(model, 1).digest != old.digest


def test_a_stage_a_tag_or_a_description_does_not_make_it_another_version(
    mlflow_server: str, registry: MlflowRegistry, model: str
) -> None:
    fetched, client = registry.fetch(model, 1), MlflowClient(mlflow_server)
    registry.set_stage(model, 1, "Staging")
    client.set_model_version_tag(model, "1", "owner", "somebody")
    client.update_model_version(model, "1", "better than the last one")
    assert resolve(registry, model, 1) == Resolved(fetched, None)


def test_a_version_that_was_pruned_or_found_damaged_is_to_be_fetched_again(
    registry: MlflowRegistry, model: str
) -> None:
    fetched = registry.fetch(model, 1)
    (fetched.path / "MLmodel").write_text("damaged")
    assert resolve(registry, model, 1) is not None, "looking reads no byte"
    assert registry.artifacts(model, 1, fetched.digest) == fetched.path
    assert digest_tree(fetched.path) == fetched.digest, "verified, so downloaded again"
    shutil.rmtree(fetched.path)
    assert resolve(registry, model, 1) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"digest": "sha256:1"}', "\x00", '{"registration": {"a": 1}}'])
def test_a_record_that_is_damaged_counts_as_none(registry: MlflowRegistry, model: str, text: str) -> None:
    fetched = registry.fetch(model, 1)
    record = fetched.path.parent / "index" / model / "1.fetched.json"
    whole = record.read_text()
    for damaged in (text, whole.replace(fetched.digest, "sha256:../.."), whole.replace('"at"', '"when"')):
        record.write_text(damaged)
        assert resolve(registry, model, 1) is None


def test_refused_artifacts_are_asked_for_ever_more_rarely_also_by_a_receiver_that_starts_again(
    monkeypatch: pytest.MonkeyPatch, proxy: FaultProxy, registry: MlflowRegistry, model: str, tmp_path: Path
) -> None:
    proxy.plan(Answer(404, b"no", "text/plain"), "mlflow-artifacts", times=FOREVER)
    at = time.time()
    for minutes in (1, 2, 4):
        monkeypatch.setattr(time, "time", lambda: at)
        with pytest.raises(Rejected):
            registry.fetch(model, 1)
        for seconds, worth in ((0, False), (60 * minutes - 1, False), (60 * minutes, True), (-1, True)):
            monkeypatch.setattr(time, "time", lambda seconds=seconds: at + seconds)
            restarted = MlflowRegistry(proxy.url, Cache(tmp_path / "cache", proxy.url))
            if worth:
                assert resolve(restarted, model, 1) is None
            else:
                with pytest.raises(Rejected, match="missing"):
                    resolve(restarted, model, 1)


@pytest.mark.parametrize("fault", [UNAVAILABLE, Answer(403, b"no", "text/plain")], ids=["an outage", "credentials"])
def test_what_does_not_lie_in_the_artifacts_is_no_reason_to_stop_asking_for_them(
    fault: Answer, proxy: FaultProxy, registry: MlflowRegistry, model: str
) -> None:
    proxy.plan(fault, "mlflow-artifacts", times=FOREVER)
    with pytest.raises(PinrailError):
        registry.fetch(model, 1)
    assert resolve(registry, model, 1) is None


def test_evidence_is_downloaded_once(mlflow_server: str, proxy: FaultProxy, registry: MlflowRegistry) -> None:
    client, name = MlflowClient(mlflow_server), new_name()
    register_version(client, name, FILES)
    write_evidence(client, replace(EVIDENCE, model=name))
    found = registry.evidence(name, 1, "staging")
    once = downloads(proxy)
    assert found is not None
    assert once > 0
    assert registry.evidence(name, 1, "staging") == found
    assert downloads(proxy) == once


def test_evidence_that_is_too_large_is_refused_and_not_kept(
    mlflow_server: str, registry: MlflowRegistry, tmp_path: Path
) -> None:
    client, name = MlflowClient(mlflow_server), new_name()
    version = register_version(client, name, FILES)
    write_evidence(client, replace(EVIDENCE, model=name))
    run_id = client.get_model_version(name, str(version)).run_id
    client.log_text(run_id, " " * (EVIDENCE_FILE.most + 1), f"pinrail/evidence/{name}/1/staging.json")
    with pytest.raises(Rejected, match=r"for staging has more than 4,194,304 bytes: run ml.evaluate again"):
        registry.evidence(name, 1, "staging")
    with pytest.raises(Rejected, match="more than 4,194,304 bytes"):
        resolve(registry, name, 1, "staging")
    assert not list(tmp_path.rglob("*.evidence.json"))


def test_evidence_that_does_not_end_is_refused(
    mlflow_server: str, proxy: FaultProxy, registry: MlflowRegistry
) -> None:
    client, name = MlflowClient(mlflow_server), new_name()
    register_version(client, name, FILES)
    write_evidence(client, replace(EVIDENCE, model=name))
    proxy.plan(Endless(), "staging.json", times=FOREVER)
    with pytest.raises(Rejected, match="for staging has more than 4,194,304 bytes"):
        registry.evidence(name, 1, "staging")
    assert proxy.streamed < 500_000_000


def test_a_version_that_is_too_large_is_refused_until_it_or_the_limit_is_another(
    mlflow_server: str, tmp_path: Path, proxy: FaultProxy
) -> None:
    name = new_name()
    register_version(MlflowClient(mlflow_server), name, {**FILES, "large.bin": bytes(3_000_000)})

    def of_at_most(megabytes: float) -> MlflowRegistry:
        return MlflowRegistry(proxy.url, Cache(tmp_path / "cache", proxy.url, Bounds(most_mb=megabytes)))

    with pytest.raises(Rejected, match=r"found 3\.0 MB, allowed 1: .* raise PINRAIL_VERSION_MB") as refused:
        of_at_most(1).fetch(name, 1)
    with pytest.raises(Rejected) as again:
        resolve(of_at_most(1), name, 1)
    assert str(again.value) == str(refused.value)
    assert resolve(of_at_most(4), name, 1) is None, "it is worth another attempt"
    assert of_at_most(4).fetch(name, 1).path.is_dir()


def test_a_full_disk_is_nobodys_fault_and_said(
    mlflow_server: str, registry: MlflowRegistry, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.model.download.RESERVE_BYTES", 1 << 60)
    with pytest.raises(Retryable, match=f"{model} version 1 could not be stored: the disk of .* is full"):
        registry.fetch(model, 1)
    monkeypatch.undo()
    assert registry.fetch(model, 1).path.is_dir()


def test_a_receiver_that_is_killed_while_it_downloads_has_fetched_nothing(
    proxy: FaultProxy, registry: MlflowRegistry, model: str, tmp_path: Path
) -> None:
    proxy.plan(Hang(), "weights.bin")
    code = (
        "import sys; from pathlib import Path; from receiver.adapters.mlflow.registry import MlflowRegistry;"
        "from serving.model.loader import Cache; url, cache, model = sys.argv[1:];"
        "MlflowRegistry(url, Cache(Path(cache), url)).fetch(model, 1)"
    )
    cache = tmp_path / "cache"
    with subprocess.Popen([sys.executable, "-c", code, proxy.url, str(cache), model]) as receiver:
        eventually(lambda: any("weights.bin" in line for line in proxy.seen), seconds=60)
        receiver.kill()
    assert resolve(registry, model, 1) is None
    assert [path.name for path in cache.iterdir() if not path.name.startswith(".new-")] == []
    fetched = registry.fetch(model, 1)
    assert resolve(registry, model, 1) == Resolved(fetched, None)
    assert digest_tree(fetched.path) == fetched.digest


def test_a_cache_that_takes_nothing_is_a_reason_to_wait_and_named(
    proxy: FaultProxy, model: str, tmp_path: Path
) -> None:
    (tmp_path / "a-file").touch()
    registry = MlflowRegistry(proxy.url, Cache(tmp_path / "a-file" / "cache", proxy.url))
    with pytest.raises(
        Retryable, match=r"cannot be stored in .*a-file/cache: .*Not a directory.*free some disk space"
    ):
        registry.fetch(model, 1)


class _Runs:
    """Runs when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return Path.touch, (self.trace,)


def test_a_pickle_is_fetched_compared_and_never_opened(
    mlflow_server: str, registry: MlflowRegistry, tmp_path: Path
) -> None:
    name, trace = new_name(), tmp_path / "it-ran"
    mlmodel = (
        'signature: {inputs: \'[{"name": "a", "type": "long"}]\'}\n'
        "flavors: {python_function: {loader_module: mlflow.sklearn, model_path: model.pkl}}\n"
    )
    evil = pickle.dumps(_Runs(trace))
    files = {"MLmodel": mlmodel, "model.pkl": evil, "python_model.pkl": evil, "input_example.json": "[]"}
    register_version(MlflowClient(mlflow_server), name, files)
    found = registry.fetch(name, 1)
    assert registry.artifacts(name, 1, found.digest) == found.path
    case = compare(registry, Slot("staging", name), None, 1)
    assert case.new.signature is not None
    assert not trace.exists()
    pickle.loads(evil)  # noqa: S301 - our own: it would have shown
    assert trace.exists()


def test_metrics_are_those_of_the_run(mlflow_server: str, registry: MlflowRegistry, model: str) -> None:
    client = MlflowClient(mlflow_server)
    assert registry.metrics(model, 1) == {}
    client.log_metric(client.get_model_version(model, "1").run_id, "accuracy", 0.8)
    assert registry.metrics(model, 1) == {"accuracy": 0.8}


def test_a_change_by_somebody_else_is_seen_at_the_next_look(
    mlflow_server: str, registry: MlflowRegistry, model: str
) -> None:
    client = MlflowClient(mlflow_server)
    somebody = MlflowRegistry(mlflow_server, registry._cache)
    registry.set_stage(model, 1, "Production")
    registry.set_stage(model, 2, "Production")
    assert view_of(registry, model).stages == {1: "Production", 2: "Production"}
    somebody.set_stage(model, 1, "Archived")
    assert view_of(registry, model).stages == {1: "Archived", 2: "Production"}
    client.delete_model_version(model, "1")
    assert view_of(registry, model).stages == {2: "Production"}


def test_a_change_while_another_thread_looks_hides_no_stage_from_it(
    monkeypatch: pytest.MonkeyPatch, mlflow_server: str, registry: MlflowRegistry, model: str
) -> None:
    other, views = new_name(), registry._views
    register_version(MlflowClient(mlflow_server), other, FILES)
    registry.set_stage(model, 1, "Production")
    registry.observe({model: ()})
    read = views._read_stages

    def meanwhile(names: Sequence[str]) -> dict[str, dict[int, str]]:
        monkeypatch.setattr(views, "_read_stages", read)
        registry.set_stage(model, 2, "Staging")
        assert view_of(registry, model).stages == {1: "Production", 2: "Staging"}
        return read(names)

    monkeypatch.setattr(views, "_read_stages", meanwhile)
    view = registry.observe({model: (), other: ()})[model]
    assert view is not None
    assert view.stages[1] == "Production"


@pytest.fixture
def registered(mlflow_server: str, registry: MlflowRegistry, model: str) -> dict[str, tuple[int, ...]]:
    """What to ask for: a model with an alias and a stage, another one, and one that is not registered."""
    other = new_name()
    register_version(MlflowClient(mlflow_server), other, FILES)
    registry.set_alias(model, "production", 1)
    registry.set_stage(model, 1, "Production")
    return {model: (1, 2, 7), other: (1,), new_name(): (1,)}


def test_many_models_cost_one_request_when_nothing_changed(
    proxy: FaultProxy, registry: MlflowRegistry, registered: dict[str, tuple[int, ...]]
) -> None:
    model, other, missing = registered
    wanted = registered | {model: (1, 2)}
    seen = registry.observe(wanted)
    view = seen[model]
    assert view is not None
    assert (view.aliases, view.stages) == ({"production": 1}, {1: "Production"})
    assert (seen[other] is None, seen[missing] is None) == (False, True)
    before = len(proxy.seen)
    assert registry.observe(wanted) == seen
    assert len(proxy.seen) == before + 1


def test_models_that_are_not_registered_are_asked_for_together_and_none_of_their_versions(
    proxy: FaultProxy, registry: MlflowRegistry
) -> None:
    missing = dict.fromkeys((f"missing-{n:04}" for n in range(300)), (1, 2))
    assert set(registry.observe(missing).values()) == {None}
    assert 1 < len(proxy.seen) < 6, "the length of an address is limited"
    assert all(len(line) < 4094 for line in proxy.seen)


def test_versions_that_are_not_the_newest_are_asked_for_together(
    mlflow_server: str, proxy: FaultProxy, registry: MlflowRegistry, registered: dict[str, tuple[int, ...]]
) -> None:
    model, other, _ = registered
    for name in (model, other):
        register_version(MlflowClient(mlflow_server), name, FILES)
    wanted = {model: (2, 7), other: (1, 8)}
    registry.observe(wanted)  # which also reads the stages
    proxy.seen.clear()
    seen = registry.observe(wanted)
    assert sum("model-versions" in line for line in proxy.seen) == 1
    found = {(name, v.version) for name, view in seen.items() if view for v in view.versions.values() if v}
    assert found == {(model, 2), (other, 1)}


@pytest.mark.parametrize("few", [50, 1], ids=["one by one", "all that there is"])
def test_a_registry_that_knows_no_lists_of_names_is_asked_in_other_words(
    few: int,
    monkeypatch: pytest.MonkeyPatch,
    proxy: FaultProxy,
    registry: MlflowRegistry,
    registered: dict[str, tuple[int, ...]],
) -> None:
    wanted = registry.observe(registered)
    monkeypatch.setattr(mlflow_search, "FEW", few)
    monkeypatch.setattr(mlflow_search, "MODELS_PER_PAGE", 100)
    older = MlflowRegistry(proxy.url, registry._cache)
    proxy.plan(Answer(400, b'{"error_code": "INVALID_PARAMETER_VALUE", "message": "IN"}'), "+IN+", FOREVER)
    assert older.observe(registered) == wanted
    refused = [line for line in proxy.seen if "+IN+" in line]
    assert older.observe(registered) == wanted
    assert [line for line in proxy.seen if "+IN+" in line] == refused, "it is not asked that again"


def test_many_models_of_a_registry_apart_from_the_tracking_server_are_found_there(
    mlflow_server: str, registered: dict[str, tuple[int, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", mlflow_server)
    found = MlflowRegistry(nowhere, Cache(tmp_path, nowhere)).observe(registered)
    assert [view is None for view in found.values()] == [False, False, True]


def test_an_address_that_is_none_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="MLFLOW_TRACKING_URI"):
        MlflowRegistry("htp:/nowhere", Cache(tmp_path))


def test_questions_that_never_end_do_not_collect_threads_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    monkeypatch.setattr(mlflow_call, "abandoned_calls", threading.BoundedSemaphore(1))
    with pytest.raises(Retryable, match="did not answer"):
        mlflow_call.once(release.wait, "http://127.0.0.1:1", 0.01)
    with pytest.raises(Retryable, match="has not answered many earlier requests"):
        mlflow_call.once(release.wait, "http://127.0.0.1:1", 0.01)
    release.set()


def test_lineage_is_what_version_and_run_say_of_data_and_parameters(
    mlflow_server: str, registry: MlflowRegistry, model: str
) -> None:
    client = MlflowClient(mlflow_server)
    run = client.get_model_version(model, "1").run_id
    client.log_param(run, "regularisation", 0.5)
    client.set_model_version_tag(model, "1", "data_version", "telco-7")
    found = registry.lineage(model, 1)
    assert (found["run"], found["data version"], found["param regularisation"]) == (run, "telco-7", "0.5")


def test_a_missing_model_is_refused_without_the_names_of_others_in_the_message(
    registry: MlflowRegistry, mlflow_server: str
) -> None:
    other = new_name()
    register_version(MlflowClient(mlflow_server), other, FILES)
    with pytest.raises(Rejected) as caught:
        registry.fetch(new_name(), 1)
    assert other not in str(caught.value)
    assert caught.value.hint.startswith("registered models: ")
