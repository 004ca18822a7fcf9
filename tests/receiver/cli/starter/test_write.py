import json
import re
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest

from ml.environment.schema import schema_text
from receiver.cli.commands.check import check_pins
from receiver.cli.starter import write
from receiver.cli.starter.write import requirement, write_repository
from receiver.core.errors import Rejected
from receiver.settings import Settings


def files_below(directory: Path) -> dict[str, str]:
    return {str(file.relative_to(directory)): file.read_text() for file in directory.rglob("*") if file.is_file()}


def test_a_new_repository_has_valid_pins_and_every_file_that_was_named(tmp_path: Path) -> None:
    repository = tmp_path / "models"
    said = write_repository(repository)
    found = files_below(repository)
    assert sorted(re.findall(r"^  (\S+)$", said, re.MULTILINE)) == sorted(found)
    assert found["environments/schema.json"] == schema_text()
    assert check_pins(repository) == "staging: no models\nproduction: no models"


def test_the_example_settings_are_settings(tmp_path: Path) -> None:
    write_repository(tmp_path)
    names = re.findall(r"^([A-Z_]+)=", (tmp_path / ".env.example").read_text(), re.MULTILINE)
    assert names
    assert {name.lower() for name in names} <= set(Settings.model_fields)


def test_a_repository_that_exists_gets_what_it_lacks(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("mine")
    (tmp_path / ".git").mkdir()
    write_repository(tmp_path)
    assert (tmp_path / "train.py").read_text() == "mine"
    assert (tmp_path / "environments/staging.yaml").is_file()


@pytest.mark.parametrize("name", ["README.md", "environments/staging.yaml", ".github/workflows/pins.yml"])
def test_what_is_there_already_is_named_and_nothing_is_written(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("mine")
    with pytest.raises(
        Rejected, match=re.escape(f"nothing was written, because these are there already:\n  {tmp_path / name}\n")
    ):
        write_repository(tmp_path)
    assert files_below(tmp_path) == {name: "mine"}


def test_no_link_leads_out_of_the_directory(tmp_path: Path) -> None:
    elsewhere, repository = tmp_path / "elsewhere", tmp_path / "repository"
    elsewhere.mkdir()
    repository.mkdir()
    (repository / "environments").symlink_to(elsewhere)
    (repository / ".env.example").symlink_to(elsewhere / "nowhere")
    with pytest.raises(Rejected) as caught:
        write_repository(repository)
    assert f"  {repository}/.env.example\n  {repository}/environments\n" in str(caught.value)
    assert not list(elsewhere.iterdir())


def test_a_file_in_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(Rejected, match=f"already:\n  {tmp_path}/file\n"):
        write_repository(tmp_path / "file")


@pytest.mark.parametrize(
    ("origin", "line"),
    [
        (None, "pinrail[receiver]==0.1.0"),
        (
            {"url": "https://me:secret@git.example/pinrail.git", "vcs_info": {"vcs": "git", "commit_id": "ab12"}},
            "pinrail[receiver] @ git+https://git.example/pinrail.git@ab12",
        ),
        ({"url": "file:///home/me/pinrail", "dir_info": {"editable": True}}, write.UNKNOWN),
        ({"url": "file:///tmp/pinrail-0.1.0-py3-none-any.whl", "archive_info": {}}, write.UNKNOWN),
    ],
)
def test_a_runner_installs_from_where_this_machine_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, origin: dict[str, object] | None, line: str
) -> None:
    (tmp_path / "METADATA").write_text("Name: pinrail\nVersion: 0.1.0\n")
    if origin is not None:
        (tmp_path / "direct_url.json").write_text(json.dumps(origin))
    monkeypatch.setattr(write, "distribution", lambda _: PathDistribution(tmp_path))
    assert requirement() == line
