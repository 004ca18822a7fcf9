# Install what in.txt asks for and this image lacks into /packages: an environment that sees the image's own packages.
# One resolution decides, in which what the image has is preferred. Run as the user of model servers, see Dockerfile.
set -eu
ulimit -v 8388608  # kB, as where a process makes an environment
# Which index to ask, and with which credentials: never part of a layer where the builder can do that.
for settings in /run/secrets/index ./index; do
  if [ -r "$settings" ]; then . "$settings"; fi
done
if [ -s ca.pem ]; then export SSL_CERT_FILE=/build/ca.pem; fi
export HOME=/build UV_CACHE_DIR=/build/cache UV_NO_CONFIG=1 UV_NO_PROGRESS=1 UV_PYTHON_DOWNLOADS=never

try() {
  "$@" >said 2>&1 || { tail -n 40 said | sed 's/^/uv says: /' >&2; exit 1; }
}

python=$(command -v python)
try ./uv pip freeze --python "$python"
grep '==' said >image.txt
cp image.txt requirements.txt
try ./uv pip compile --quiet --no-header --no-annotate --no-emit-index-url --python "$python" \
  --constraints constraints.txt in.txt -o requirements.txt
grep -vxFf image.txt requirements.txt >lacking.txt || true
try ./uv venv --quiet --allow-existing --system-site-packages --python "$python" /packages
# shellcheck disable=SC2046 - none, or several
try ./uv pip install --no-deps --compile-bytecode --python /packages/bin/python -r lacking.txt \
  --constraints hashes.txt $(cat options)
