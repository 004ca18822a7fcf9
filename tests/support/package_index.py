"""A package index on loopback, with small wheels made on the spot."""

import base64
import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def wheel(name: str, version: str, requires: Sequence[str] = (), code: str = "") -> tuple[str, bytes]:
    """A wheel's file name and content; it has one module of the package's name."""
    module, info = name.replace("-", "_"), f"{name.replace('-', '_')}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {line}\n" for line in requires)
    files = {
        f"{module}.py": f"VERSION = {version!r}\n{code}",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            record += f"{path},sha256={digest},{len(text.encode())}\n"
        archive.writestr(f"{info}/RECORD", f"{record}{info}/RECORD,,\n")
    return f"{module}-{version}-py3-none-any.whl", packed.getvalue()


class Index:
    """What it has; it may fail, and it may be silent until ``answering`` is set."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.status = 200
        self.asked: list[str] = []
        self.answering = threading.Event()
        self.answering.set()
        self.url = ""

    def add(self, name: str, version: str, requires: Sequence[str] = (), code: str = "") -> None:
        """Publish a wheel."""
        file, content = wheel(name, version, requires, code)
        self.files[file] = content

    def hash_of(self, name: str, version: str) -> str:
        """As an option of a requirement."""
        file = f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
        return f"--hash=sha256:{hashlib.sha256(self.files[file]).hexdigest()}"

    def page(self, name: str) -> str:
        """The page about one package."""
        module = name.replace("-", "_")
        return "".join(
            f'<a href="/files/{file}">{file}</a>\n' for file in self.files if file.startswith(f"{module}-")
        )


@contextmanager
def running_index(host: str = "127.0.0.1") -> Iterator[Index]:
    """An index that serves until the end of the block."""
    index = Index()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            index.asked.append(self.path)
            index.answering.wait(60)
            name = Path(self.path).name
            body = index.files.get(name) if "/files/" in self.path else index.page(name).encode()
            status = index.status if index.status != 200 else (200 if body else 404)
            self.send_response(status)
            self.send_header("Content-Type", "application/octet-stream" if "/files/" in self.path else "text/html")
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer((host, 0), Handler)
    server.daemon_threads = True
    index.url = f"http://{host}:{server.server_port}/simple"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield index
    finally:
        index.answering.set()
        server.shutdown()
        server.server_close()
        thread.join()
