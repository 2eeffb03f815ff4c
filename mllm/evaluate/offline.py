"""A process that is kept from the network by Python itself, and tells who was called."""

from __future__ import annotations

import socket
import sys
from typing import Any


def without_network() -> list[str]:
    """Refuse every connection but to this machine from here on; the list gets each host that was tried.

    Beside a namespace, which some machines do not allow: some scorers draw by lot where a service is out of reach.
    """
    tried: list[str] = []
    own = {"", "localhost", "::1", socket.gethostname()}

    def refuse(event: str, given: tuple[Any, ...]) -> None:
        host = _host(event, given)
        if host is not None and host not in own and not host.startswith("127."):
            tried.append(host)
            raise PermissionError(f"there is no network here, and {host} was tried")

    sys.addaudithook(refuse)
    return tried


def _host(event: str, given: tuple[Any, ...]) -> str | None:
    """That is called; None where nothing is, or a socket among this machine's files."""
    if event == "socket.getaddrinfo":
        host = given[0]
    elif event == "socket.connect" and isinstance(given[1], tuple):
        host = given[1][0]
    else:
        return None
    return host.decode(errors="replace") if isinstance(host, bytes) else host
