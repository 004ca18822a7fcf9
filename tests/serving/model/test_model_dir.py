"""What a model directory says about itself, and what is no model that could be served."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from serving.errors import UnsupportedModelError
from serving.model import model_dir
from serving.model.model_dir import Column, Param


def write(directory: Path, **raw: Any) -> Path:
    (directory / "MLmodel").write_text(yaml.safe_dump(raw))
    return directory


def test_columns_types_and_what_may_be_missing_come_from_the_signature(classifier: Path) -> None:
    model = model_dir.read(classifier)
    assert list(model.columns) == [
        Column("age", "long"),
        Column("income", "double", required=False),
        Column("balance", "double"),
        Column("city", "string"),
        Column("plan", "string"),
    ]
    assert model.flavors == {"sklearn", "python_function"}
    assert model.onnx == classifier / "onnx" / "model.onnx"
    assert model.tensor is None


def test_a_tensor_of_numbers_counts_as_columns_without_names(tensor_regressor: Path) -> None:
    model = model_dir.read(tensor_regressor)
    assert list(model.columns) == [Column(str(n), "double") for n in range(3)]
    assert model.tensor == "float64"
    assert len(model_dir.input_example(tensor_regressor)) == 2
    assert set(model_dir.input_example(tensor_regressor)[0]) == {"0", "1", "2"}


def test_params_come_with_type_and_default(doubler: Path) -> None:
    assert list(model_dir.read(doubler).params) == [Param("factor", "double", 2.0)]


def test_the_input_example_comes_as_records_with_none_for_what_is_missing(classifier: Path) -> None:
    example = model_dir.input_example(classifier)
    assert [list(record) for record in example] == [["age", "income", "balance", "city", "plan"]] * 3
    assert example[0]["income"] is None
    json.dumps(example, allow_nan=False)


def test_a_model_without_an_input_example_has_no_rows(tmp_path: Path) -> None:
    inputs = json.dumps([{"type": "long", "name": "a"}])
    assert model_dir.input_example(write(tmp_path, signature={"inputs": inputs})) == []


def test_an_example_row_that_the_signature_would_refuse_is_left_out(tmp_path: Path) -> None:
    inputs = json.dumps([{"type": "double", "name": "a"}, {"type": "double", "name": "b", "required": False}])
    info = {"type": "dataframe", "artifact_path": "example.json"}
    (tmp_path / "example.json").write_text('{"columns": ["a", "b"], "data": [[NaN, 1.0], [2.0, NaN], [null, 3.0]]}')
    model = write(tmp_path, signature={"inputs": inputs}, saved_input_example_info=info)
    assert model_dir.input_example(model) == [{"a": 2.0, "b": None}]


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        (None, "no signature"),
        ([], "no signature"),
        ([{"type": "array", "name": "a", "items": {"type": "long"}}], "of type array"),
        ([{"type": "long", "name": "a"}] * 2, "same name"),
        ([{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 28, 28]}}], "shape"),
        ([{"type": "tensor", "tensor-spec": {"dtype": "str", "shape": [-1, 2]}}], "type str"),
    ],
)
def test_a_signature_that_requests_cannot_be_checked_by_is_refused(tmp_path: Path, inputs: Any, reason: str) -> None:
    signature = {} if inputs is None else {"signature": {"inputs": json.dumps(inputs) if inputs else ""}}
    with pytest.raises(UnsupportedModelError, match=reason):
        model_dir.read(write(tmp_path, flavors={}, **signature))


@pytest.mark.parametrize("content", [b"", b"- 1", b"a: [", b"\xff\xfe\x00", b"!!python/object:os.system {}"])
def test_what_is_no_model_description_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "MLmodel").write_bytes(content)
    with pytest.raises(UnsupportedModelError, match="MLmodel"):
        model_dir.read(tmp_path)


def test_a_directory_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="cannot be read"):
        model_dir.read(tmp_path)


SIGNED = {"inputs": '[{"name": "a", "type": "long"}]'}


@pytest.mark.parametrize("outside", ["../secrets.json", "data/../../secrets.json", "link.json", "{absolute}"])
def test_an_example_outside_of_the_model_is_not_read(tmp_path: Path, outside: str) -> None:
    secrets = tmp_path / "secrets.json"
    secrets.write_text('{"a": 1}')
    directory = tmp_path / "model"
    directory.mkdir()
    (directory / "link.json").symlink_to(secrets)
    name = outside.format(absolute=secrets)
    write(directory, signature=SIGNED, saved_input_example_info={"type": "dataframe", "artifact_path": name})
    with pytest.raises(UnsupportedModelError, match="outside its directory"):
        model_dir.input_example(directory)


@pytest.mark.parametrize(
    "raw",
    [
        {"signature": SIGNED, "flavors": ["sklearn"]},
        {"signature": SIGNED, "flavors": {"python_function": "x"}},
        {"signature": SIGNED, "saved_input_example_info": ["x"]},
        {"signature": SIGNED | {"outputs": "[5]"}},
        {"signature": SIGNED | {"params": '[{"x": 1}]'}},
        *({"signature": {"inputs": inputs}} for inputs in (5, "x", "5", '{"a": 1}', "[1]", '[{"type": "tensor"}]')),
        {"signature": {"inputs": "[" * 100_000}},
    ],
    ids=lambda raw: str(raw)[:60],
)
def test_a_description_that_no_mlflow_wrote_is_understood_or_refused(tmp_path: Path, raw: dict[str, Any]) -> None:
    refused = []
    for read in (model_dir.read, model_dir.describe_outputs, model_dir.input_example):
        try:
            read(write(tmp_path, **raw))
        except UnsupportedModelError as error:
            refused.append(error)
    assert refused


def test_a_description_that_is_nested_without_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text("[" * 3000)
    with pytest.raises(UnsupportedModelError):
        model_dir.read(tmp_path)


def test_an_input_example_that_was_logged_with_params_is_found(tmp_path: Path) -> None:
    inputs = json.dumps([{"name": "a", "type": "double"}])
    info = {"type": "dataframe", "artifact_path": "example.json", "pandas_orient": "split", "params": "true"}
    content = {"inputs": {"columns": ["a"], "data": [[1.5]]}, "params": {"factor": 2}}
    (tmp_path / "example.json").write_text(json.dumps(content))
    assert model_dir.input_example(write(tmp_path, signature={"inputs": inputs}, saved_input_example_info=info)) == [
        {"a": 1.5}
    ]


def test_tensors_by_name_are_refused_with_what_to_do(tmp_path: Path) -> None:
    named = [{"name": "x", "type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 2]}}]
    with pytest.raises(UnsupportedModelError, match=r"takes tensors by name \(x\).*signature of columns"):
        model_dir.read(write(tmp_path, signature={"inputs": json.dumps(named)}))
