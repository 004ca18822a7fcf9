"""The probe of ``serving.confinement`` where the kernel only seems to obey."""

import sys
from pathlib import Path

import serving.confinement.__main__ as probe

if __name__ == "__main__":
    probe.confine = lambda reach: None
    sys.exit(probe.main(*map(Path, sys.argv[1:])))
