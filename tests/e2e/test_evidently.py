"""The page's program for Evidently works as it stands there, in an environment as the page describes it."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from receiver.__main__ import main
from receiver.core.state import Slot
from tests.support.request_logs import request_log
from tests.support.segments import record

PAGE = Path(__file__).parents[2] / "docs" / "inference-log.md"
SLOT = Slot("production", "churn-model")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")  # tests cut them off
COLUMNS = [("age", "long"), ("city", "string")]
pytestmark = [pytest.mark.long, pytest.mark.timeout(400)]


def rows(ages: tuple[int, int], count: int) -> list[list[object]]:
    first, last = ages
    return [[first + n % (last - first), ("Bonn", "Köln")[n % 2]] for n in range(count)]


@pytest.fixture
def python(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The interpreter of an environment with what the page says to install: 700 MB, so on disk."""
    for name in PROXIES:
        monkeypatch.delenv(name)
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        yield as_documented(Path(directory) / "environment")


def as_documented(directory: Path) -> Path:
    words = re.search(r"`pip install ([^`]+)`", PAGE.read_text(encoding="utf-8"))
    assert words is not None
    python, uv = directory / "bin" / "python", Path(sys.executable).with_name("uv")
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, directory], check=True)
    command = [uv, "pip", "install", "--quiet", "--python", python, *words[1].replace('"', "").split()]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    if done.returncode != 0 and not os.environ.get("PINRAIL_REQUIRE_INDEX"):
        pytest.skip("no package index answers")
    assert done.returncode == 0, done.stderr
    return python


def test_evidently_reports_the_drift_of_what_was_asked(
    python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [record(request_id=f"{n}".encode(), rows=[row]) for n, row in enumerate(rows((60, 90), 200))]
    refused = record(status=422, reason="age: a value is required", rows=None, labels=None, probabilities=None)
    request_log(tmp_path / ".pinrail", [*asked, refused], COLUMNS, SLOT)
    trained = "".join(f"{age},{city},No\n" for age, city in rows((20, 50), 400))
    (tmp_path / "training.csv").write_text(f"age,city,churn\n{trained}", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["pinrail", "requests", SLOT.environment, SLOT.model, "--out", "week.parquet"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    (program,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    done = subprocess.run(
        [python, "-c", f"{program}print(report.json())"], check=False, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "drift.html").stat().st_size > 10_000
    assert '"value": {"count": 1.0, "share": 0.5}' in done.stdout, "the age has drifted, the city has not"
