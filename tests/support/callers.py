"""A client of a public port that opens a connection for each question, and notes who answers."""

import http.client
import itertools
import json
import threading
import time
from contextlib import closing
from typing import Self


class Caller:
    """Asks a public port all the time, with a new connection each time, and notes who answered when."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.answers: list[tuple[float, str]] = []
        self.failures: list[str] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _ask(self) -> None:
        while not self._over.is_set():
            try:
                with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)) as connection:
                    connection.request("GET", "/health")
                    said = json.load(connection.getresponse())
                self.answers.append((time.monotonic(), said["environment"]))
            except (OSError, http.client.HTTPException, KeyError, ValueError) as error:
                self.failures.append(repr(error))
            time.sleep(0.001)

    def longest_silence(self) -> float:
        """Between two answers."""
        moments = [moment for moment, _ in self.answers]
        return max(later - earlier for earlier, later in itertools.pairwise(moments))

    def said(self) -> list[str]:
        """Who answered, each once in a row."""
        names = [name for _, name in self.answers]
        return [name for nth, name in enumerate(names) if nth == 0 or names[nth - 1] != name]
