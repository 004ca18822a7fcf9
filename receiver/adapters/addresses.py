"""``PINRAIL_HOST``, where model servers listen: its family, where to ask it, and whether one of its ports is free."""

import ipaddress
import socket

LOOPBACK = {4: "127.0.0.1", 6: "::1"}


def family(host: str) -> socket.AddressFamily:
    """IPv6 for an address with colons; IPv4 for any other, and for names."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def url_host(host: str) -> str:
    """``host`` as this machine's clients name it in a URL: a wildcard address is asked on loopback."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    asked = LOOPBACK[address.version] if address.is_unspecified else host
    return f"[{asked}]" if address.version == 6 else asked  # noqa: PLR2004 - IPv6


def listen_on_trial(host: str, port: int) -> None:
    """Listen there and stop again. OSError: somebody listens, or it is no address of this machine."""
    with socket.socket(family(host)) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if trial.family == socket.AF_INET6:
            trial.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # as model servers listen
        trial.bind((host, port))
        trial.listen()
