"""Reading the inference log while the receiver goes on to collect it."""

import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ml.datasets.request_log import read_part

REPLACEMENTS = 300


def test_a_part_that_is_replaced_while_it_is_read_is_read_as_one_or_the_other(tmp_path: Path) -> None:
    part, over = tmp_path / "part.parquet", threading.Event()
    tables = [pa.table({"n": list(range(rows)), "text": ["x" * 50] * rows}) for rows in (10, 5_000)]
    pq.write_table(tables[0], part)

    def replace() -> None:
        for turn in range(REPLACEMENTS):
            pq.write_table(tables[turn % 2], tmp_path / "new")
            (tmp_path / "new").replace(part)
        over.set()

    writer = threading.Thread(target=replace)
    writer.start()
    found = set()
    while not over.is_set():
        found.add(read_part(part, columns=["n"]).num_rows)
    writer.join()
    assert found <= {10, 5_000}


def test_a_part_that_is_gone_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_part(tmp_path / "part.parquet")
