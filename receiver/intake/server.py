"""How the public listener is run: by uvicorn, with bounds on what a stranger may hold open."""

import uvicorn

from receiver.intake.app import PublicApp
from serving.http.bounded import BoundedProtocol

IDLE_SECONDS = 15


class PublicProtocol(BoundedProtocol):
    """The bounds for strangers: the app gives a body some seconds, which leaves as many for its head."""

    request_seconds = 20.0


def server_config(app: PublicApp, port: int) -> uvicorn.Config:
    """The public listener on ``127.0.0.1``: the tunnel's end is on this machine.

    No ``Server`` header, no forwarded headers, no access log (the app logs what it takes), no websockets.
    """
    return uvicorn.Config(
        app,
        host="127.0.0.1",
        port=port,
        http=PublicProtocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_config=None,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=10,
    )
