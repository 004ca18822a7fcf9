"""What a version lists is read as MLflow, pip and people write it; what cannot be installed is refused by name."""

import time
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from ml.packages.decision import OURS, Needed, Serving, decide
from ml.packages.requirements import UnsuitablePackagesError, needs_nothing, read_listed

HERE = {"numpy": "2.4.6", "scikit-learn": "1.9.1", "pydantic": "2.14.3", "xgboost-cpu": "3.2.0"}
SERVING = Serving(
    declared={"numpy": Requirement("numpy>=1.26"), "pydantic": Requirement("pydantic>=2.10")},
    locked={"numpy": "2.4.6", "pydantic": "2.14.3", "mlflow-skinny": "3.17.2", "protobuf": "7.36.2"},
)
PICKLED = "flavors:\n  python_function: {python_model: python_model.pkl, loader_module: mlflow.pyfunc.model}\n"
FROM_CODE = (
    "flavors:\n  python_function: {model_code_path: model.py, loader_module: mlflow.pyfunc.loaders.code_model}\n"
)


def needed(directory: Path, **files: str) -> Needed | None:
    for name, text in files.items():
        (directory / {"requirements": "requirements.txt", "mlmodel": "MLmodel"}.get(name, f"{name}.yaml")).write_text(
            text
        )
    listed = read_listed(directory)
    return None if listed is None else decide(listed, HERE.get, SERVING)


@pytest.mark.parametrize(
    "text",
    [
        "numpy==2.4.6",
        "numpy==2.1.0\nscikit-learn==1.9.0",  # another patch, or another minor where pickles survive it
        "scikit_learn>=1.5,<2",
        "mlflow==2.9.2\nmlflow[extras]>=2",  # every model server has the MLflow that it was made with
        "pip<25\nwheel\nnumpy",  # install packages, and are none of a model's
        "xgboost==3.2.0",  # as another distribution of the same modules
        "# a comment\n\n--extra-index-url https://example.invalid/simple\nnumpy==2.4.6 # last\n",
        "numpy==2.4.6 \\\n    --hash=sha256:00 \\\n    --hash=sha256:01\n",
        "torch==2.5.0; sys_platform == 'win32'",
        "numpy==2.4.6; python_version < '3.0'\nlightgbm; extra == 'boost'",
        "\ufeffnumpy==2.*",
        "",
    ],
)
def test_what_is_here_will_do(tmp_path: Path, text: str) -> None:
    assert needed(tmp_path, requirements=text) is None


def test_a_version_that_lists_nothing_needs_nothing(tmp_path: Path) -> None:
    assert needed(tmp_path) is None


@pytest.mark.parametrize(
    ("text", "installs", "says"),
    [
        ("lightgbm==4.7.0", ["lightgbm==4.7.0"], "lightgbm==4.7.0"),
        ("scikit-learn==1.8.0\nnumpy==2.4.1", ["scikit-learn==1.8.0"], "scikit-learn==1.8.0 (here is 1.9.1)"),
        ("numpy==1.26.4", ["numpy==1.26.4"], "numpy==1.26.4 (here is 2.4.6)"),
        ("git+https://u:p@a.invalid/x.git@0a", ["git+https://u:p@a.invalid/x.git@0a"], "git+https://a.invalid/x.git"),
        ("numpy @ https://example.invalid/numpy.whl", ["numpy @ https://example.invalid/numpy.whl"], "numpy @ https"),
        ("lightgbm\nmlflow==3.1\npip<25", ["lightgbm"], "lightgbm"),
        ("pandas==1.5.3", ["pandas==1.5.3"], "pandas==1.5.3"),
    ],
)
def test_an_environment_has_the_servers_packages_and_the_models(
    tmp_path: Path, text: str, installs: list[str], says: str
) -> None:
    found = needed(tmp_path, requirements=text)
    assert found is not None
    assert [one for one in found.requirements if one != "pandas"] == installs, (
        "the lock's version stays where it will do"
    )
    assert any(one.startswith("pandas") for one in found.requirements), "MLflow asks models with a table"
    assert says in str(found)


def test_a_conflict_is_named_package_by_package(tmp_path: Path) -> None:
    with pytest.raises(UnsuitablePackagesError) as refused:
        needed(tmp_path, requirements="pydantic==1.10.2\nnumpy==1.20.0\nxgboost==1.7")
    assert "it needs pydantic==1.10.2, a model server pydantic>=2.10; it needs numpy==1.20.0" in str(refused.value)
    assert "xgboost" not in str(refused.value)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("-e .", "name a path of the machine"),
        ("--editable /home/me/package", "a path of the machine"),
        ("./dist/own-1.0-py3-none-any.whl", "a path of the machine"),
        ("file:///home/me/own.whl", "a path of the machine"),
        ("own @ file:///home/me/own.whl", "code_paths="),
        ("own @ git+file:///home/me/own", "a path of the machine"),
        ("own @ https://a.invalid/own.whl?${UV_DEFAULT_INDEX}", "name a variable"),
        ("-r more.txt", "include more.txt, which is not among its files"),
        ("-r ../../etc/passwd", "not among its files"),
        ("one two three", "'one two three'"),
        ("one; os_name ~= 'posix'", "a condition that nobody can decide"),
        ("one; 'a' in extras", "a condition that nobody can decide"),
    ],
)
def test_what_can_be_installed_nowhere_is_refused_with_the_line(tmp_path: Path, line: str, says: str) -> None:
    with pytest.raises(UnsuitablePackagesError, match=says):
        needed(tmp_path, requirements=f"numpy\n{line}\n")


def test_files_beside_it_are_followed(tmp_path: Path) -> None:
    (tmp_path / "more.txt").write_text("lightgbm==4.7.0\n-c constraints.txt\n")
    (tmp_path / "constraints.txt").write_text("scipy<2\n")
    found = needed(tmp_path, requirements="-r more.txt\n")
    assert found is not None
    assert "lightgbm==4.7.0" in found.requirements
    assert found.constraints == ("scipy<2",)


def test_an_index_that_a_version_names_is_not_asked(tmp_path: Path) -> None:
    found = needed(
        tmp_path,
        requirements="--extra-index-url=https://person:secret@a.invalid/cpu\n-f https://b.invalid\ntorch==2.5.1+cpu\n",
    )
    assert found is not None
    assert found.indexes == ("https://a.invalid/cpu", "https://b.invalid")
    assert not any("invalid" in line for line in found.requirements)


def test_an_index_in_a_file_of_constraints_is_not_asked_either(tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text("--extra-index-url https://a.invalid/cpu\n--pre\nscipy<2\n")
    found = needed(tmp_path, requirements="lightgbm\n-c c.txt\n")
    assert found is not None
    assert (found.constraints, found.indexes) == (("scipy<2",), ("https://a.invalid/cpu",))
    (tmp_path / "c.txt").write_text("-e /home/me/package\n")
    with pytest.raises(UnsuitablePackagesError, match="a path of the machine"):
        needed(tmp_path, requirements="lightgbm\n-c c.txt\n")


@pytest.mark.parametrize("entry", ["git+https://a.invalid/own", "own @ https://a.invalid/own.whl", "lightgbm"])
def test_a_line_within_a_line_of_conda_s_file_is_read_as_one(tmp_path: Path, entry: str) -> None:
    conda = 'dependencies: [{pip: ["%s\\n--index-url=https://b.invalid"]}, {pip: 5}]\n' % entry  # noqa: UP031
    found = needed(tmp_path, conda=conda)
    assert found is not None
    assert found.indexes == ("https://b.invalid",)
    assert not any("b.invalid" in line for line in found.requirements)


def test_a_long_list_is_shown_shortened(tmp_path: Path) -> None:
    found = needed(tmp_path, requirements="".join(f"package-{number}==1.0\n" for number in range(4000)))
    assert found is not None
    assert str(found).endswith("package-39==1.0, and 3,960 more")


def test_conda_s_file_stands_in_for_a_missing_requirements_txt(tmp_path: Path) -> None:
    found = needed(tmp_path, conda="dependencies: [python=3.11.2, pip<=23, {pip: [lightgbm==4.7.0]}]\n")
    assert found is not None
    assert "lightgbm==4.7.0" in found.requirements
    with pytest.raises(UnsuitablePackagesError, match=r"packages of conda's \(cudatoolkit=11\.8\)"):
        needed(tmp_path, conda="dependencies: [python=3.11.2, pip, cudatoolkit=11.8]\n")


def test_another_python_matters_only_for_pickled_code(tmp_path: Path) -> None:
    other = "3.13" if OURS != "3.13" else "3.12"
    python = f"python: {other}.1\n"
    assert needed(tmp_path, requirements="numpy", mlmodel=FROM_CODE, python_env=python) is None
    found = needed(tmp_path, mlmodel=PICKLED)
    assert found is not None
    assert (found.python, found.missing) == (other, (f"Python {other}",))
    with pytest.raises(
        UnsuitablePackagesError, match=r"code of Python 3\.9, and a model server needs 3\.11 or newer"
    ):
        needed(tmp_path, python_env="python: 3.9.7\n")
    assert needed(tmp_path, python_env=f"python: {OURS}.99\n") is None


@pytest.mark.parametrize("text", ["- a list", "[", "python: [3]"])
def test_a_file_that_mlflow_did_not_write_is_no_bug(tmp_path: Path, text: str) -> None:
    try:
        needed(tmp_path, requirements="numpy", python_env=text, mlmodel=text)
    except UnsuitablePackagesError as error:
        assert "python_env.yaml" in str(error)  # noqa: PT017 - it need not be raised


def test_a_huge_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsuitablePackagesError, match="found 1,800,000 bytes in req"):
        needed(tmp_path, requirements="numpy\n" * 300_000)
    with pytest.raises(UnsuitablePackagesError, match="more than 5,000 lines"):
        needed(tmp_path, requirements="numpy\n" * 5001)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"requirements": "-r b.yaml\n" * 60, "b": "-r b.yaml\n" * 60}, "include over 20 files"),
        ({"requirements": "-c b.yaml\n" * 19, "b": "x\n" * 300}, "more than 5,000 lines"),
        ({"requirements": "a" + " " * 500_000 + "b"}, "no requirement"),
        ({"requirements": "a; " + "(" * 1900}, "no requirement"),
        (
            {"conda": "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{f'*a{i - 1}, ' * 10}]\n" for i in range(1, 9))},
            "20,000",
        ),
        ({"requirements": "numpy", "python_env": "python: 1" + ":1" * 90_000}, "a number of 180,001 characters"),
    ],
)
def test_a_small_list_that_stands_for_an_endless_one_is_refused_at_once(
    tmp_path: Path, files: dict[str, str], reason: str
) -> None:
    began = time.process_time()
    with pytest.raises(UnsuitablePackagesError, match=reason):
        needed(tmp_path, **files)
    assert time.process_time() - began < 2.0


def test_a_requirement_with_a_hundred_hashes_is_one(tmp_path: Path) -> None:
    hashes = " ".join(f"\\\n    --hash=sha256:{i:064x}" for i in range(100))
    assert needed(tmp_path, requirements=f"numpy==2.4.6 {hashes}\n") is None


def test_a_twin_needs_nothing_unless_the_model_takes_params(tmp_path: Path) -> None:
    signature = 'signature: {inputs: \'[{"name": "a", "type": "double"}]\', params: \'%s\'}\n'
    param = '[{"name": "t", "type": "double", "default": 0.5, "shape": null}]'
    (tmp_path / "MLmodel").write_text(FROM_CODE + signature % "null")
    assert not needs_nothing(tmp_path)
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx/model.onnx").write_bytes(b"twin")
    assert needs_nothing(tmp_path)
    (tmp_path / "MLmodel").write_text(FROM_CODE + signature % param)
    assert not needs_nothing(tmp_path)


LOCK = (
    "numpy==2.4.6 \\\n    --hash=sha256:11 \\\n    --hash=sha256:12\n    # via pinrail\n"
    "protobuf==7.36.2 \\\n    --hash=sha256:13\n"
)


@pytest.mark.parametrize(
    ("text", "verified", "hashes"),
    [
        (
            "lightgbm==4.7.0 --hash=sha256:01 --hash=sha256:02\npandas==3.1.1 --hash=sha256:03",
            True,
            ("lightgbm==4.7.0 --hash=sha256:01 --hash=sha256:02", "pandas==3.1.1 --hash=sha256:03"),
        ),
        ("lightgbm==4.7.0 --hash=sha256:01\npandas==3.1.1", False, ("lightgbm==4.7.0 --hash=sha256:01",)),
        ("lightgbm==4.7.0 --hash=sha256:01", False, ("lightgbm==4.7.0 --hash=sha256:01",)),  # pandas comes with it
        ("lightgbm==4.7.0", False, ()),
    ],
)
def test_hashes_count_where_all_that_is_installed_has_them(
    tmp_path: Path, text: str, *, verified: bool, hashes: tuple[str, ...]
) -> None:
    (tmp_path / "requirements.txt").write_text(text)
    listed = read_listed(tmp_path)
    assert listed is not None
    found = decide(listed, HERE.get, Serving(SERVING.declared, SERVING.locked, LOCK))
    assert found is not None
    assert found.verified is verified
    of_lock = ("numpy==2.4.6 --hash=sha256:11 --hash=sha256:12", "protobuf==7.36.2 --hash=sha256:13")
    assert found.hashes == ((*hashes, *of_lock) if verified else hashes)
