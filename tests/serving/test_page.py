"""The page for people: everything on it is escaped, and its form is the signature."""

import base64
import hashlib
import html
import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from ml.datasets.reference import describe
from serving.app import Identity, ModelServer, build_app
from serving.model.digest import digest_tree
from serving.model.known_values import known_values
from serving.model.model_dir import Column, read
from serving.model.predictor import load_predictor
from serving.page import page
from tests.serving.conftest import serve
from tests.support.asgi import ask
from tests.support.axe import violations
from tests.support.chromium import browser, find_browser

EVIL = '"><script>alert(1)</script>'


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


def test_the_page_links_to_the_dashboard_where_that_address_is_the_visitors_own_machine(classifier: Path) -> None:
    url = "http://127.0.0.1:9001/models/staging/small"
    served = build_app(Identity("small", 3, "sha256:x", "staging", None, None), load_predictor(classifier), None, url)
    link = f'<a href="{url}">In the dashboard</a>'
    assert link in ask(served, "GET", "/", host="localhost:8000").body.decode()
    assert link in ask(served, "GET", "/", host="127.0.0.1:8000").body.decode()
    assert url not in ask(served, "GET", "/", host="models.example:8000").body.decode()


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
    record.write_text(
        json.dumps({"roc_auc": 0.8614651, "accuracy": 0.80659, "rows": 123456789.5, "odd": float("nan")})
    )
    served = build_app(Identity("small", 3, digest, "staging", None, None), load_predictor(directory))
    text = ask(served, "GET", "/").body.decode()
    found = re.findall(r'<dt>(.*?)</dt><dd title="(.*?)">(.*?)</dd>', text)
    assert found == [
        ("accuracy", "0.80659", "0.8066"),
        ("odd", "nan", "nan"),
        ("roc_auc", "0.8614651", "0.8615"),
        ("rows", "123456789.5", "123,500,000"),
    ]


def test_a_page_without_metrics_says_so(app: ModelServer) -> None:
    assert "logged no metrics" in ask(app, "GET", "/").body.decode()


def test_an_example_with_half_a_character_does_not_break_the_page() -> None:
    text = page({"model": "m", "version": 1}, [Column("a", "string")], {"a": "x\ud800y"}, {})
    assert 'value="x?y"' in text.encode().decode()


def test_names_and_examples_that_hold_markup_stay_text() -> None:
    text = page({"model": EVIL, "version": 1}, [Column(EVIL, "string")], {EVIL: EVIL}, {EVIL: 1.0})
    assert text.count("<script>") == 1
    assert "&lt;script&gt;alert(1)" in text


def test_each_type_has_its_field() -> None:
    columns = [Column("flag", "boolean"), Column("maybe", "boolean", required=False), Column("n", "double")]
    text = page({"model": "m", "version": 1}, columns, {"flag": True}, {})
    assert "<option selected>true</option>" in text
    assert text.count("<option></option>") == 1
    assert "type=number step=any" in text


@pytest.mark.parametrize(
    ("environment", "stage", "expected"),
    [
        ("production", "Production", True),
        ("production", None, True),
        ("eu", "Production", True),
        ("eu", None, False),
        ("staging", "Staging", False),
    ],
)
def test_production_differs_at_a_glance(environment: str, stage: str | None, expected: bool) -> None:
    text = page({"model": "m", "version": 1, "environment": environment, "stage": stage}, [], {}, {})
    assert ('<html lang="en" class=production>' in text) is expected
    assert f"<p class=place>{environment}</p>" in text
    assert f"<title>m version 1 in {environment}</title>" in text


@pytest.mark.parametrize("place", ["pinrail", "extra_files"])
def test_texts_of_the_training_data_are_choices(classifier: Path, tmp_path: Path, place: str) -> None:
    directory = tmp_path / "model"
    shutil.copytree(classifier, directory)
    (directory / place).mkdir()
    rows = pd.DataFrame({"city": ["Rome", EVIL, None], "age": [1, 2, 3], "plan": ["a", "a", "a"]})
    (directory / place / "reference.json").write_text(describe(rows, "sha256:1").to_json())
    text = ask(serve(directory), "GET", "/").body.decode()
    assert re.findall(r'<input name="(\w+)"[^>]* list="known-(\w+)"', text) == [("city", "city"), ("plan", "plan")]
    escaped = html.escape(EVIL)
    assert f'<datalist id="known-city"><option value="{escaped}"><option value="Rome"></datalist>' in text
    assert f"hidden>not in the training data, which holds: {escaped}, Rome</small>" in text


@pytest.mark.parametrize("record", ["", "[]", '{"columns": {"city": 1}}', '{"columns": {"city": {"shares": 5}}}'])
def test_a_model_whose_summary_cannot_be_read_is_served_all_the_same(
    classifier: Path, tmp_path: Path, record: str
) -> None:
    directory = tmp_path / "model"
    shutil.copytree(classifier, directory)
    (directory / "pinrail").mkdir()
    (directory / "pinrail" / "reference.json").write_text(record)
    assert "<datalist" not in ask(serve(directory), "GET", "/").body.decode()


def test_a_column_of_many_texts_is_free_text_and_no_file_outside_the_model_is_read(
    classifier: Path, tmp_path: Path
) -> None:
    rows = pd.DataFrame({"city": [str(number) for number in range(51)], "plan": ["a"] * 51})
    (tmp_path / "elsewhere.json").write_text(describe(rows, "sha256:1").to_json())
    directory = tmp_path / "model"
    shutil.copytree(classifier, directory)
    (directory / "pinrail").mkdir()
    reference = directory / "pinrail" / "reference.json"
    reference.symlink_to(tmp_path / "elsewhere.json")
    assert known_values(read(directory)) == {}
    reference.unlink()
    shutil.copy(tmp_path / "elsewhere.json", reference)
    assert known_values(read(directory)) == {"plan": ["a"]}


@pytest.mark.skipif(find_browser() is None, reason="needs Chromium")
def test_the_page_fits_a_phone_and_says_which_text_the_training_data_does_not_hold(tmp_path: Path) -> None:
    name = "a column with spaces and_with_a_part_that_is_far_too_long_for_a_phone_of_390_pixels"
    health = {"model": "m" * 80, "version": 1, "environment": "production", "digest": "sha256:" + "a" * 64}
    file = tmp_path / "page.html"
    columns = [Column(name, "string"), Column("plan", "string", required=False)]
    file.write_text(page(health, columns, {name: "Oslo"}, {"m" * 60: 1e9}, {name: ["Rome"], "plan": ["a"]}))
    notes = 'fields.map(field => !field.closest("label").querySelector(".new").hidden)'
    fields = "const fields = [...document.querySelectorAll('input')]"
    with browser(find_browser() or "") as tab:
        for width, dark in ((390, False), (390, True), (1280, False)):
            tab.open(file.as_uri(), width, dark=dark)
            assert tab.overflow() <= 0
            assert violations(tab) == []
            assert tab.run(f"(() => {{{fields}; return {notes}}})()") == [True, False]
        typed = "fields[0].value = 'Rome'; fields[1].value = 'b'; document.dispatchEvent(new Event('input'))"
        assert tab.run(f"(() => {{{fields}; {typed}; return {notes}}})()") == [False, True]
