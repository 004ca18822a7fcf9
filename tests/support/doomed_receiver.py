"""A receiver that promotes one version after another until it is killed. Run as a script: STATE PORT FIRST."""

import itertools
import sys
from pathlib import Path

from receiver.core.state import Role
from tests.contracts.target import spec
from tests.support.process_target import process_target


def main(state: Path, port: int, first: int) -> None:
    target = process_target(state)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for version in itertools.count(first):
        new = target.start(spec(version, port))
        target.switch(new)
        for server in target.observe():
            if server.role is not Role.LIVE:
                target.retire(server)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
