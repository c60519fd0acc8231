"""Looks at the doors that the config names, and at who answers there."""

import errno
import http.client
import os
import socket
import ssl
import stat
from pathlib import Path
from typing import Literal

from msgspec import Struct

PATIENCE_S = 3.0

Kind = Literal["nothing", "answered", "leftover", "silent", "not ours to ask", "no socket"]


class SocketSeen(Struct, frozen=True, kw_only=True):
    """What is at a socket's path, and whether one can be made there. `bytes`: the path's length.

    "leftover": a socket's file that nobody serves; "silent": somebody has it and does not accept.
    """

    path: str
    bytes: int
    kind: Kind
    folder: str
    may_make: bool


class PortSeen(Struct, frozen=True, kw_only=True):
    """`problem`: why it cannot be opened, "" if it can be. `is_held`: by somebody; `is_ours`: who answers as we do."""

    address: str
    problem: str = ""
    is_held: bool = False
    is_ours: bool = False


def see_socket(path: Path) -> SocketSeen:
    path = path.absolute()
    folder = next(place for place in path.parents if os.path.exists(place))
    return SocketSeen(
        path=str(path),
        bytes=len(os.fsencode(path)),
        kind=who_is_at(path),
        folder=str(folder),
        may_make=folder.is_dir() and os.access(folder, os.W_OK | os.X_OK),
    )


def who_is_at(path: Path) -> Kind:
    try:
        mode = path.lstat().st_mode
    except PermissionError:
        return "not ours to ask"
    except OSError:  # no such file, or a path that is too long for one
        return "nothing"
    if not stat.S_ISSOCK(mode):
        return "no socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PATIENCE_S)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return "leftover"
        except PermissionError:
            return "not ours to ask"
        except OSError:
            return "silent"
    return "answered"


def see_port(host: str, port: int, *, is_tls: bool = False) -> PortSeen:
    """Bind it for a moment; where it is held, ask who answers. A port of 0 is whichever is free."""
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))  # and does not listen: nobody can come in
    except OSError as problem:
        if problem.errno != errno.EADDRINUSE:
            return PortSeen(address=address, problem=problem.strerror or str(problem))
        return PortSeen(address=address, is_held=True, is_ours=answers_as_we_do(host, port, is_tls=is_tls))
    return PortSeen(address=address)


def trusting() -> ssl.SSLContext:
    """Any certificate is good: no secret goes there, and our own may be signed by nobody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def answers_as_we_do(host: str, port: int, *, is_tls: bool) -> bool:
    """Whether a daemon of ours says there that it is alive, or stuck."""
    try:
        connection = http.client.HTTPConnection(host, port, timeout=PATIENCE_S)
        if is_tls:
            connection = http.client.HTTPSConnection(host, port, timeout=PATIENCE_S, context=trusting())
        try:
            connection.request("GET", "/healthz")
            body = connection.getresponse().read(1_000)
        finally:
            connection.close()
    except (OSError, http.client.HTTPException):
        return False
    return b'"status":"ok"' in body or b'"store_stuck"' in body
