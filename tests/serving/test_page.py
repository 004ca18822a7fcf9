"""The page for people: everything on it is escaped, and its form is the signature."""

import re

from serving.app import ModelServer
from serving.model_dir import Column
from serving.page import page
from tests.support.asgi import ask


def test_the_page_says_what_is_served_and_has_a_field_per_column(app: ModelServer) -> None:
    answer = ask(app, "GET", "/")
    text = answer.body.decode()
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    for word in ("small version 3", "Staging", "0123abc", "sha256:", "onnx"):
        assert word in text
    assert re.findall(r'<(?:input|select) name="(\w+)"', text) == ["age", "income", "balance", "city", "plan"]
    assert re.search(r'name="income" data-optional=1', text)
    assert not re.search(r"(src|href)=.?https?:", text)


def test_names_and_examples_that_hold_markup_stay_text() -> None:
    evil = '"><script>alert(1)</script>'
    text = page({"model": evil, "version": 1}, [Column(evil, "string")], {evil: evil})
    assert text.count("<script>") == 1
    assert "&lt;script&gt;alert(1)" in text


def test_each_type_has_its_field() -> None:
    columns = [Column("flag", "boolean"), Column("maybe", "boolean", required=False), Column("n", "double")]
    text = page({"model": "m", "version": 1}, columns, {"flag": True})
    assert "<option selected>true</option>" in text
    assert text.count("<option></option>") == 1
    assert "type=number step=any" in text
