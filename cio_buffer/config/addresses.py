"""Where apps may reach us, and where HTTP may be spoken in clear text: on this machine only."""

import ipaddress
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit


class Address(NamedTuple):
    """A TCP address to listen on. An IPv6 host has no brackets; port 0 means any free port."""

    host: str
    port: int


def parse_http_address(text: str) -> Address:
    """Read "127.0.0.1:8246", "localhost:8246" or "[::1]:8246".

    Raises ValueError, with a reason for people, when the text has another form or the host is not loopback.
    """
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError("an IPv6 host needs brackets, as in [::1]:8246")
    if not (colon and host and _is_port(port)):
        raise ValueError("it is not host:port, with a port from 0 to 65535")
    if not is_loopback(host):
        raise ValueError("its host is not a loopback address")
    return Address(host, int(port))


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65_535


def is_loopback(host: str) -> bool:
    """True for "localhost" and addresses that never leave the machine. Other names are not looked up."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def parse_url(text: str) -> SplitResult:
    """Take an http or https URL apart: host, perhaps a port and a path, nothing else.

    Raises ValueError, with a reason for people that never repeats the URL: it may hold a password.
    """
    try:
        url = urlsplit(text)
        is_sound = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        is_sound = False
    if not is_sound or not text.isprintable() or " " in text:
        raise ValueError("it is not a URL such as https://track.customer.io")
    if "@" in url.netloc or url.query or url.fragment:
        raise ValueError("it holds more than scheme, host, port and path")
    return url
