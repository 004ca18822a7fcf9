"""A stand-in for ngrok's agent: pyngrok starts it, its API opens endpoints, and they really forward HTTP.

It keeps the parts of the real one that matter here: the log lines that pyngrok waits for, the API on ``web_addr``,
a token that is checked, and a traffic policy that is obeyed.
"""

import http.client
import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import yaml

BAD_TOKEN = "a-token-that-nobody-has"


class Text(str):
    """A string with the methods of ngrok's expression language."""

    __slots__ = ()
    startsWith = str.startswith  # noqa: N815 - its name over there


def denied(policy: dict[str, Any], method: str, path: str) -> int | None:
    """The status that the policy answers in the upstream's place."""
    request = SimpleNamespace(method=method, url=SimpleNamespace(path=Text(path)))
    for rule in policy.get("on_http_request", ()):
        expressions = [
            e.replace("||", " or ").replace("&&", " and ").replace("!req", "not req") for e in rule["expressions"]
        ]
        if all(eval(e, {"req": request}) for e in expressions):  # noqa: S307 - our own policy
            for action in rule["actions"]:
                if action["type"] == "deny":
                    return int(action["config"]["status_code"])
    return None


class Forward(BaseHTTPRequestHandler):
    """The public side of one endpoint."""

    upstream = ""
    policy: dict[str, Any] = {}  # noqa: RUF012 - replaced per endpoint

    def _any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status = denied(self.policy, self.command, urlsplit(self.path).path)
        if status is None:
            target = urlsplit(self.upstream)
            connection = http.client.HTTPConnection(target.hostname or "", target.port, timeout=10)
            connection.request(self.command, self.path, body, dict(self.headers.items()))
            response = connection.getresponse()
            status, body = response.status, response.read()
            connection.close()
        else:
            body = b""
        _answer(self, status, body)

    do_GET = do_POST = do_PUT = do_DELETE = _any  # noqa: N815 - http.server's names

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Api(BaseHTTPRequestHandler):
    """The agent's API, and one more verb for tests: DELETE drops an endpoint as a lost session does."""

    endpoints: dict[str, dict[str, Any]] = {}  # noqa: RUF012 - one agent per process
    may_verify = True

    def do_GET(self) -> None:
        _answer(self, 200, json.dumps({"endpoints": list(self.endpoints.values())}).encode())

    def do_DELETE(self) -> None:
        self.endpoints.clear()
        _answer(self, 204, b"")

    def do_POST(self) -> None:
        wanted = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.may_verify and "verify-webhook" in json.dumps(wanted):
            _answer(self, 400, b'{"error_code": "ERR_NGROK_9016", "msg": "not authorized to verify webhooks"}')
            return
        handler = type(
            "Endpoint", (Forward,), {"upstream": wanted["upstream"]["url"], "policy": wanted["traffic_policy"]}
        )
        public = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=public.serve_forever, daemon=True).start()
        made = {
            "name": wanted["name"],
            "url": f"http://127.0.0.1:{public.server_address[1]}",
            "upstream": wanted["upstream"],
            "asked_for": wanted,
        }
        self.endpoints[wanted["name"]] = made
        _answer(self, 201, json.dumps(made).encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def main() -> None:
    """``ngrok start --none --log stdout --config PATH``."""
    config = yaml.safe_load(Path(sys.argv[sys.argv.index("--config") + 1]).read_text())["agent"]
    Api.may_verify = "may-not-verify" not in config["authtoken"]
    if BAD_TOKEN in config["authtoken"] or "--authtoken" in sys.argv:
        say(f'lvl=eror msg="session closed" err="authentication failed: {config["authtoken"]} ERR_NGROK_105"')
        sys.exit(1)
    host, port = config["web_addr"].split(":")
    api = ThreadingHTTPServer((host, int(port)), Api)
    threading.Thread(target=api.serve_forever, daemon=True).start()
    say(f'lvl=info msg="starting web service" obj=web addr={config["web_addr"]}')
    say('lvl=info msg="client session established" obj=csess')
    say('lvl=info msg="tunnel session started" obj=tunnels.session')
    parent = os.getppid()
    while os.getppid() == parent:  # nobody is left behind by a test that was killed
        threading.Event().wait(0.2)


def say(line: str) -> None:
    """Log as the agent does, for pyngrok to read."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _answer(handler: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


if __name__ == "__main__":
    main()
