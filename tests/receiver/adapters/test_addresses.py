import socket

import pytest

from receiver.adapters.addresses import listen_on_trial, url_host
from tests.support.ports import free_port


@pytest.mark.parametrize(
    ("host", "asked"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),  # noqa: S104 - compared, not bound
        ("::", "[::1]"),
        ("::1", "[::1]"),
        ("fe80::1", "[fe80::1]"),
        ("10.0.0.7", "10.0.0.7"),
        ("localhost", "localhost"),
    ],
)
def test_a_url_names_an_address_that_clients_can_ask(host: str, asked: str) -> None:
    assert url_host(host) == asked


def test_a_port_is_free_of_one_family_while_the_other_has_it() -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        listen_on_trial("::", port)
        with pytest.raises(OSError, match="in use"):
            listen_on_trial("0.0.0.0", port)  # noqa: S104 - tried
    listen_on_trial("127.0.0.1", port)
