"""Looking costs nothing: whoever looks, no byte of an artifact is read and none is downloaded."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from mlflow import MlflowClient

from ml.environment.file import parse_environment
from ml.evidence import CheckOutcome, Evidence, Verdict, gate_digest
from ml.registry.versions import write_evidence
from receiver.adapters.mlflow.registry import MlflowRegistry
from receiver.admin.app import admin_app
from receiver.cli.commands.plan import plan_view
from receiver.core.redact import Redactor
from receiver.planning.assess import assess
from receiver.planning.observe import observe_head
from receiver.planning.status import StatusBoard, status_report
from receiver.services import Services
from serving.model.loader import Cache
from tests.contracts.registry import FILES, new_name
from tests.support.evidence import KEY
from tests.support.fault_proxy import FaultProxy, fault_proxy
from tests.support.flow import Flow
from tests.support.mlflow_server import register_version
from tests.support.one_pass import reconcile
from tests.support.opened_files import opened_below

STAGING = """\
environment: staging
registry: {{stage: Staging, alias: staging}}
gate: {{accuracy: {{min: 0.8}}}}
models: {{{model}: {{version: 1, port: 8000}}}}
"""
PRODUCTION = """\
environment: production
registry: {{stage: Production, alias: production}}
policy: {{after: staging, soak: 30m}}
gate: {{accuracy: {{min: 0.8}}}}
models: {{{model}: {{version: 1, port: 8001}}}}
"""


def pins(model: str) -> Mapping[str, bytes]:
    return {
        "environments/staging.yaml": STAGING.format(model=model).encode(),
        "environments/production.yaml": PRODUCTION.format(model=model).encode(),
    }


def register(url: str, model: str, files: Mapping[str, bytes], scratch: Path) -> None:
    """Register a version with evidence that passes in both environments."""
    client = MlflowClient(url)
    version = register_version(client, model, FILES)
    digest = Cache(scratch, url).fetch(model, version).digest
    verdict = Verdict("accuracy", CheckOutcome.PASS, 0.81, ">=", 0.8)
    for path, raw in files.items():
        environment = parse_environment(raw, path)
        gate = gate_digest(environment.gate)
        found = Evidence(model, version, environment.name, digest, "sha256:rows", gate, (verdict,), 1.0)
        registered = client.get_model_version(model, str(version)).creation_timestamp
        write_evidence(client, KEY.sign(replace(found, registered=registered)))


def observe_by_all_means(services: Services, flow: Flow) -> None:
    """Plan and status, the dashboard, its data, metrics."""
    plan_view(services)
    status_report(services, observe_head(services))
    status_board, seen = StatusBoard(), observe_head(services)
    status_board.update(seen, {slot: assess(services, seen, slot) for slot in seen.slots()}, {})
    app = admin_app(flow.database, status_board.report, Redactor())
    asyncio.run(_open_pages(app))


async def _open_pages(app: FastAPI) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as admin:
        for page in ("/", "/api/environments", "/metrics", "/readyz"):
            assert (await admin.get(page)).status_code in (200, 503)


def downloads(proxy: FaultProxy) -> list[str]:
    return [request for request in proxy.seen if "artifact" in request]


def artifacts_in(opened: list[str]) -> list[str]:
    return [path for path in opened if not path.startswith("index/")]


@pytest.mark.parametrize("fetched", [True, False], ids=["waits for its soak", "was never fetched"])
def test_no_look_reads_or_downloads_an_artifact(fetched: bool, mlflow_server: str, tmp_path: Path) -> None:
    model, flow = new_name(), Flow(tmp_path / "flow")
    files = pins(model)
    register(mlflow_server, model, files, tmp_path / "gate")
    flow.source.commit(dict(files))
    with fault_proxy(mlflow_server) as proxy, opened_below(tmp_path / "cache") as opened:
        services = replace(flow.services, registry=MlflowRegistry(proxy.url, Cache(tmp_path / "cache", proxy.url)))
        if fetched:
            reconcile(services, "push")
            assert downloads(proxy), "this is how one is seen"
            assert artifacts_in(opened), "and this is how reading is"
        proxy.seen.clear()
        opened.clear()
        observe_by_all_means(services, flow)
        if fetched:
            assert not reconcile(services, "timer").outcomes
        assert (downloads(proxy), artifacts_in(opened)) == ([], [])
        assert proxy.seen, "the registry was asked"
        found = {row.environment: row.state for row in status_report(services, observe_head(services)).slots}
    wanted = ("in sync", "waiting") if fetched else ("unfetched", "unfetched")
    assert (found["staging"], found["production"]) == wanted
