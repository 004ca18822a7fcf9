"""The page for people: everything on it is escaped, and its form is the signature."""

import base64
import hashlib
import json
import re
import shutil
from pathlib import Path

from serving.app import Identity, ModelServer, build_app
from serving.model.digest import digest_tree
from serving.model.model_dir import Column
from serving.model.predictor import load_predictor
from serving.page import page
from tests.support.asgi import ask


def test_the_page_says_what_is_served_and_has_a_field_per_column(app: ModelServer) -> None:
    answer = ask(app, "GET", "/")
    text = answer.body.decode()
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/html")
    for word in ("small version 3", "Staging", "0123abc", "sha256:", "onnx"):
        assert word in text
    assert re.findall(r'<(?:input|select) name="(\w+)"', text) == ["age", "income", "balance", "city", "plan"]
    assert re.search(r'name="income" data-optional=1', text)
    assert not re.search(r"(src|href)=.?https?:", text)


def test_the_browser_may_run_the_page_s_own_script_and_style_and_nothing_else(app: ModelServer) -> None:
    answer = ask(app, "GET", "/")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert "style=" not in answer.body.decode()
    for kind in ("style", "script"):
        (content,) = re.findall(rf"<{kind}>(.*?)</{kind}>", answer.body.decode(), re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy


def test_the_page_shows_what_the_run_measured_without_asking_the_registry(classifier: Path, tmp_path: Path) -> None:
    digest = digest_tree(classifier)
    directory = tmp_path / digest.removeprefix("sha256:")
    shutil.copytree(classifier, directory)
    record = tmp_path / "index" / "small" / "3.metrics.json"
    record.parent.mkdir(parents=True)
    record.write_text(json.dumps({"roc_auc": 0.8614651, "accuracy": 0.80659, "rows": 1409.0, "odd": float("nan")}))
    served = build_app(Identity("small", 3, digest, "staging", None, None), load_predictor(directory))
    text = ask(served, "GET", "/").body.decode()
    found = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", text)
    assert found == [("accuracy", "0.8066"), ("odd", "nan"), ("roc_auc", "0.8615"), ("rows", "1409")]


def test_a_page_without_metrics_says_so(app: ModelServer) -> None:
    assert "logged no metrics" in ask(app, "GET", "/").body.decode()


def test_an_example_with_half_a_character_does_not_break_the_page() -> None:
    text = page({"model": "m", "version": 1}, [Column("a", "string")], {"a": "x\ud800y"}, {})
    assert 'value="x?y"' in text.encode().decode()


def test_names_and_examples_that_hold_markup_stay_text() -> None:
    evil = '"><script>alert(1)</script>'
    text = page({"model": evil, "version": 1}, [Column(evil, "string")], {evil: evil}, {evil: 1.0})
    assert text.count("<script>") == 1
    assert "&lt;script&gt;alert(1)" in text


def test_each_type_has_its_field() -> None:
    columns = [Column("flag", "boolean"), Column("maybe", "boolean", required=False), Column("n", "double")]
    text = page({"model": "m", "version": 1}, columns, {"flag": True}, {})
    assert "<option selected>true</option>" in text
    assert text.count("<option></option>") == 1
    assert "type=number step=any" in text
