"""The small model server of ``tiny_server``, run as the serving image runs the real one; with more flaws."""

import os
import sys
import threading
import time

from serving.lifecycle.server import run_on_port
from tests.support.tiny_server import EXITS_AT_ONCE, HANGS_WHILE_LOADING, App

EATS_MEMORY_AT_START = 910
EATS_MEMORY_SOON = 911
DIES_SOON = 912


def main(argv: list[str]) -> None:
    options = dict(option.removeprefix("--").split("=", 1) for option in argv)
    version = int(options["version"])
    sys.stderr.write(f"serving v{version}\n")
    if version == EXITS_AT_ONCE:
        sys.stderr.write("there is no such model \x1b[31m\n")
        sys.exit(3)

    def load() -> App:
        if version == HANGS_WHILE_LOADING:
            time.sleep(600)
        if version == EATS_MEMORY_AT_START:
            _eat()
        if version == EATS_MEMORY_SOON:
            threading.Timer(1.0, _eat).start()
        if version == DIES_SOON:
            threading.Timer(3.0, _die).start()
        return App(options)

    run_on_port(options["host"], int(options["port"]), load)


def _eat() -> None:
    eaten = []
    while True:
        eaten.append(bytearray(16 << 20))


def _die() -> None:
    sys.stderr.write("the model lost its mind\n")
    os._exit(9)


if __name__ == "__main__":
    main(sys.argv[1:])
