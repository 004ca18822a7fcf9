"""``python -m ml.environment``: the schema of environment files, or what is wrong with some of them."""

import sys

from ml.environment.file import main

if __name__ == "__main__":
    sys.exit(main())
