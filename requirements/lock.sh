#!/bin/sh
# Writes the hash-locked requirement files. No index address gets into them: they install from whichever
# index the machine is set up for.
set -eu
cd "$(dirname "$0")/.."
uv=${UV:-uv}
command -v "$uv" >/dev/null || uv=.venv/bin/uv
compile() {
  "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes \
    --no-emit-index-url --no-header --no-annotate "$@"
}
compile --extra serving pyproject.toml -o requirements/serving.txt
compile --extra dev pyproject.toml -o requirements/dev.txt
printf 'uv\nhatchling\neditables\n' | compile - -o requirements/uv.txt
