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
compile --extra platform pyproject.toml -o requirements/platform.txt
compile --extra dev pyproject.toml -o requirements/dev.txt
printf 'uv\nhatchling\neditables\n' | compile - -o requirements/uv.txt

# The site of the docs, in the same venv as the code that its reference is generated from.
echo mkdocs-material | compile --constraints requirements/dev.txt - -o requirements/docs.txt

# What `make bench` compares with. All serve one model, so all have the libraries that it was written with.
pinned() { grep -E "^($1)==" requirements/dev.txt | sed 's/ \\$//'; }
bench() {
  name=$1 && shift
  { pinned 'numpy|pandas|scikit-learn|skops' && printf '%s\n' "$@"; } | compile - -o "requirements/bench-$name.txt"
}
bench mlflow "$(pinned mlflow)"
bench mlserver mlserver mlserver-sklearn
bench bentoml bentoml
bench fastapi fastapi uvicorn httptools 'uvloop; sys_platform != "win32"'

# What it looks at a server with.
echo py-spy | compile - -o requirements/bench-profile.txt
