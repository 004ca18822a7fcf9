from pathlib import Path

import pytest

from receiver.cli.commands.check import check_pins
from receiver.core.errors import Rejected
from tests.support.git_repos import FILES


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    (tmp_path / "environments/README.md").write_text("not a pin")
    return tmp_path


def test_valid_pins_are_listed(tree: Path) -> None:
    assert check_pins(tree) == "staging: churn-model v1 on port 8000\nproduction: churn-model v1 on port 8001"


def test_every_error_of_every_file_is_reported(tree: Path) -> None:
    for path in (tree / "environments").glob("*.yaml"):
        path.write_text(path.read_text().replace("version: 1", "verison: 1"))
    with pytest.raises(Rejected) as caught:
        check_pins(tree)
    said = str(caught.value)
    assert "environments/production.yaml:7" in said
    assert "environments/staging.yaml:6" in said


def test_a_file_that_the_receiver_would_not_read_is_named(tree: Path) -> None:
    (tree / "environments/canary.yml").write_text("environment: canary")
    with pytest.raises(Rejected, match=r"^environments/canary\.yml: found the ending \.yml, allowed \.yaml"):
        check_pins(tree)


def test_a_link_is_no_environment_file(tree: Path) -> None:
    path = tree / "environments/staging.yaml"
    path.unlink()
    path.symlink_to("/etc/passwd")
    with pytest.raises(Rejected, match=r"environments/staging\.yaml: found no regular file"):
        check_pins(tree)


def test_no_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="environments"):
        check_pins(tmp_path)
