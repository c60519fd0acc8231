"""Who may come in at all, before anybody looks at what they want."""

import re
from functools import lru_cache
from http import HTTPStatus
from ipaddress import ip_address

from aiohttp import web

from cio_buffer.errors import Problem, Refused
from cio_buffer.http.connection import connection_of

HOST = re.compile(r"(?:\[([^\]]*)\]|([^:]*))(?::\d*)?")


def keep_browsers_out(request: web.BaseRequest) -> None:
    """Raise Refused (403) for what a browser sends.

    No SDK sends `Origin`. A page on a foreign name that resolves to us (DNS rebinding) is told by its `Host`.
    """
    if is_from_a_browser(request):
        message = "Browsers and foreign hosts are kept out of this port"
        raise Refused(HTTPStatus.FORBIDDEN, Problem(reason="invalid", field="", message=message), closes=True)


def is_from_a_browser(request: web.BaseRequest) -> bool:
    if "Origin" in request.headers:
        return True
    return connection_of(request).is_by_tcp and not all(map(is_local, request.headers.getall("Host", ())))


@lru_cache(maxsize=64)
def is_local(host: str) -> bool:
    """Whether a `Host` header, with or without a port, names this machine."""
    found = HOST.fullmatch(host)
    name = (found[1] or found[2] or "").lower() if found else ""
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"
