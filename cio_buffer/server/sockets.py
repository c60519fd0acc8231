"""Sockets as files and as TLS: bound so that nobody can reach them before their permissions are right."""

import grp
import os
import pwd
import socket
import ssl
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from cio_buffer.errors import UnknownGroup, UnknownUser, UnusableCertificate


def bind_unix(path: Path, *, mode: int, group: str) -> socket.socket:
    """Bind a UNIX socket that nobody can reach before its permissions are right.

    A file that a crash left behind is replaced; one on which somebody answers is not (OSError).
    """
    group_id = find_group(group) if group else -1
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    if os.path.lexists(path):
        replace_leftover(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        bind_privately(sock, path)
        try:
            os.chown(path, -1, group_id)
            path.chmod(mode)
        except BaseException:
            path.unlink()
            raise
    except BaseException:
        sock.close()
        raise
    return sock


def bind_privately(sock: socket.socket, path: Path) -> None:
    umask = os.umask(0o177)
    try:
        sock.bind(str(path))
    finally:
        os.umask(umask)


def find_group(name: str) -> int:
    """The number of a group. Raises UnknownGroup."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise UnknownGroup(f"there is no group {name!r}") from None


def find_users(names: Iterable[str]) -> frozenset[int]:
    """The numbers of users given by name or number. Raises UnknownUser."""
    return frozenset(int(name) if name.isdecimal() else find_user(name) for name in names)


def find_user(name: str) -> int:
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise UnknownUser(f"there is no user {name!r}") from None


def replace_leftover(path: Path) -> None:
    """Remove a socket that nobody serves any more. Raises OSError for anything else."""
    if not stat.S_ISSOCK(path.lstat().st_mode):
        raise FileExistsError(f"{path} exists and is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, suppress(ConnectionRefusedError):
        probe.settimeout(1.0)  # where nobody accepts any more, a full backlog would hold us for good
        probe.connect(str(path))
        raise FileExistsError(f"somebody else serves {path}")
    path.unlink()


def tls_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """What a TLS listener speaks with: 1.2 or newer. Raises UnusableCertificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key, password="")  # an encrypted key is an error, not a prompt
    except OSError as problem:  # an SSLError is one too
        reason = problem.strerror if not isinstance(problem, ssl.SSLError) else (problem.reason or "not PEM")
        raise UnusableCertificate(f"cannot use {certificate} with {key}: {reason}") from None
    return context
