"""What a version says about itself costs little to read, whoever wrote it."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from serving.errors import UnsupportedModelError
from serving.model import model_dir, small_files
from serving.model.small_files import INPUT_EXAMPLE, MLMODEL, SmallFile, parse_json, parse_yaml, read_small

SECONDS = 2.0  # each took between four seconds and a minute before it was bounded
SIGNATURE = 'signature:\n  inputs: \'[{"type": "double", "name": "x"}]\'\nflavors: {python_function: {}}\n'
EXAMPLE = SIGNATURE + "saved_input_example_info: {artifact_path: example.json, type: dataframe}\n"


def laughs(levels: int, merge: str = "") -> str:
    """A few lines in which each stands for ten of the line before."""
    lines = ["a0: &a0 {k: v}"]
    for level in range(1, levels):
        ten = ", ".join([f"*a{level - 1}"] * 10)
        lines.append(f"a{level}: &a{level} {{{merge or 'k'}: [{ten}]}}")
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ("x: [" + "1, " * 230_000 + "1]", "more than 20,000 values"),
        ("x: " + "[" * 3000 + "]" * 3000, "nested more than 50 levels"),
        ("x: " + "[" * 100_000, "nested more than 50 levels"),
        (laughs(10), "more than 20,000 values"),
        (laughs(10, merge="<<"), "more than 20,000 values"),
        ("x: &a [*a]", "the alias \\*a stands for nothing, or for what it is in"),
        ("x: 1" + ":1" * 500_000, "a number of 1,000,001 characters"),
        ("x: !!int '1" + ":1" * 500_000 + "'", "a number of 1,000,001 characters"),
        ("x: [" * 2, "expected"),
        ("x: 2024-13-45", "month must be in"),
        ("x: " + "9" * 5000, "a number of 5,000 characters"),
    ],
)
def test_a_model_description_that_stands_for_more_than_it_shows_is_refused_at_once(
    tmp_path: Path, more: str, reason: str
) -> None:
    (tmp_path / "MLmodel").write_text(SIGNATURE + more)
    began = time.process_time()
    with pytest.raises(UnsupportedModelError, match=reason) as refused:
        model_dir.read(tmp_path)
    assert time.process_time() - began < SECONDS
    assert len(str(refused.value)) < 600
    assert str(tmp_path) not in str(refused.value), "plans on GitHub say it"


def test_directives_which_libyaml_compares_with_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="% directive"):
        parse_yaml("".join(f"%TAG !a{i}! tag:x{i}:\n" for i in range(40_000)).encode() + b"--- {}\n")


def test_a_file_that_is_too_large_is_not_read_to_its_end(tmp_path: Path) -> None:
    file = tmp_path / "MLmodel"
    file.touch()
    os.truncate(file, 1 << 40)  # a terabyte, which takes no disk
    with pytest.raises(UnsupportedModelError, match=r"found 1,099,511,627,776 bytes in MLmodel, allowed 4,194,304"):
        model_dir.read(tmp_path)


def test_an_input_example_that_is_a_whole_data_set_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text(EXAMPLE)
    (tmp_path / "example.json").write_text(json.dumps({"columns": ["x"], "data": [[1.0]] * 700_000}))
    with pytest.raises(UnsupportedModelError, match=r"its input example is too large: .*rows\.head\(\)"):
        model_dir.input_example(tmp_path)


def test_an_input_example_that_is_nested_without_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text(EXAMPLE)
    (tmp_path / "example.json").write_text("[" * 100_000)
    with pytest.raises(UnsupportedModelError, match="nested too deeply"):
        model_dir.input_example(tmp_path)


def test_a_file_of_just_the_limit_is_read(tmp_path: Path) -> None:
    file, kind = tmp_path / "file", SmallFile("file", 10, "cut it")
    file.write_bytes(b"0123456789")
    assert read_small(file, kind) == b"0123456789"
    file.write_bytes(b"0123456789a")
    with pytest.raises(UnsupportedModelError, match="cut it"):
        read_small(file, kind)


def test_a_model_of_twenty_thousand_columns_and_an_image_as_example_are_within_the_limits() -> None:
    columns = [{"type": "double", "name": f"ENSG{i:011}", "required": True} for i in range(20_000)]
    described = yaml.safe_dump({"signature": {"inputs": json.dumps(columns)}}).encode()
    assert len(described) < MLMODEL.most
    assert len(parse_json(parse_yaml(described)["signature"]["inputs"])) == 20_000
    assert len(json.dumps([[i / 3 for i in range(224 * 224 * 3)]])) < INPUT_EXAMPLE.most


@pytest.mark.parametrize(
    "value",
    [
        {"a": {"b": [1, 2.5, True, None, "text", "010", "1_000", "2024-01-02"]}},
        {"shared": [{"x": 1}] * 3, "text": "a\nb\n%c\n", "long": "x y " * 500},
    ],
)
def test_what_mlflow_writes_is_read_as_mlflow_reads_it(value: Any) -> None:
    text = yaml.safe_dump(value)
    assert parse_yaml(text.encode()) == yaml.safe_load(text) == value


def test_without_libyaml_the_same_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small_files, "Loader", yaml.SafeLoader)
    with pytest.raises(ValueError, match="more than 20,000 values"):
        parse_yaml(laughs(10).encode())
