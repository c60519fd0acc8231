"""What types cannot say: keys that need each other, and values with a meaning of their own. Pure."""

import os
from collections.abc import Iterator
from itertools import combinations

from cio_buffer.config.addresses import is_loopback, parse_http_address, parse_url
from cio_buffer.config.keys import SOCKET_PATH_MAX_BYTES, Config
from cio_buffer.config.reading import Finding
from cio_buffer.config.sources import Name


def check(config: Config) -> Iterator[Finding]:
    """Everything about `config` that cannot work, except for its secrets: `fetching.py` has those."""
    yield from _workspace(config)
    yield from _listeners(config)
    yield from _addresses(config)
    yield from _addresses_that_collide(config)
    yield from _certificate(config)
    yield from _urls(config)
    yield from _socket_lengths(config)
    yield from _paths_that_collide(config)
    yield from _backoffs(config)


def _workspace(config: Config) -> Iterator[Finding]:
    if not config.upstream.site_id:
        yield Finding(
            names=(("upstream", "site_id"),),
            what="site_id in [upstream] is missing",
            why="it names the workspace that everything is sent to",
            fix="set it to the Site ID from Customer.io's settings, under API Credentials",
        )


def _listeners(config: Config) -> Iterator[Finding]:
    if not (config.listen.unix_path or config.listen.http_address or config.listen.https_address):
        yield Finding(
            names=(("listen", "unix_path"), ("listen", "http_address"), ("listen", "https_address")),
            what="unix_path and http_address in [listen] are both off, and so is https_address",
            why="no app could reach the daemon",
            fix="set at least one of them",
        )


def _addresses(config: Config) -> Iterator[Finding]:
    for key, example in (("http_address", "127.0.0.1:8246"), ("https_address", "127.0.0.1:8256")):
        try:
            if text := getattr(config.listen, key):
                parse_http_address(text)
        except ValueError as error:
            yield Finding(
                names=(("listen", key),),
                what=f"{key} in [listen] cannot be used: {error}",
                why="whoever reaches this address can send in your name: it must stay on this machine",
                fix=f'use an address of this machine only, such as "{example}"',
            )


def _addresses_that_collide(config: Config) -> Iterator[Finding]:
    http, https = config.listen.http_address, config.listen.https_address
    if http and http == https and not http.endswith(":0"):
        yield Finding(
            names=(("listen", "https_address"), ("listen", "http_address")),
            what="http_address and https_address in [listen] are the same",
            why="a port speaks either http or https",
            fix='give each its own port, such as "127.0.0.1:8246" and "127.0.0.1:8256"',
        )


def _certificate(config: Config) -> Iterator[Finding]:
    keys = ("https_address", "tls_cert_file", "tls_key_file")
    present = [key for key in keys if getattr(config.listen, key)]
    missing = [key for key in keys if key not in present]
    if present and missing:
        yield Finding(
            names=tuple(("listen", key) for key in (*present, *missing)),
            what=f"[listen] has {' and '.join(present)}, but no {' and no '.join(missing)}",
            why="https takes an address, a certificate and its private key: all three or none",
            fix=f"set {' and '.join(missing)} too; openssl makes a certificate and its key, the README shows how",
        )


def _urls(config: Config) -> Iterator[Finding]:
    for key in ("track_url", "app_url"):
        try:
            if text := getattr(config.upstream, key):
                _check_url(text)
        except ValueError as error:
            yield Finding(
                names=(("upstream", key),),
                what=f"{key} in [upstream] cannot be used: {error}",
                why="the API key and people's data travel to this address",
                fix='use https, or plain http to this machine only; "" takes the region\'s own address',
            )


def _check_url(text: str) -> None:
    url = parse_url(text)
    if url.scheme == "http" and not is_loopback(url.hostname or ""):
        raise ValueError("it is plain http to another machine")


def _socket_lengths(config: Config) -> Iterator[Finding]:
    for section, path in (("listen", config.listen.unix_path), ("admin", config.admin.unix_path)):
        if len(os.fsencode(path)) > SOCKET_PATH_MAX_BYTES:
            yield Finding(
                names=((section, "unix_path"),),
                what=f"unix_path in [{section}] is longer than {SOCKET_PATH_MAX_BYTES} bytes",
                why="the operating system has no room for a longer socket path",
                fix="choose a shorter folder, such as /run/cio-buffer",
            )


def _paths_that_collide(config: Config) -> Iterator[Finding]:
    paths: dict[Name, str] = {
        ("listen", "unix_path"): config.listen.unix_path,
        ("admin", "unix_path"): config.admin.unix_path,
        ("outbox", "path"): config.outbox.path,
    }
    for one, other in combinations([name for name in paths if paths[name]], 2):
        if os.path.normpath(paths[one]) == os.path.normpath(paths[other]):
            yield Finding(
                names=(one, other),
                what=f"{one[1]} in [{one[0]}] and {other[1]} in [{other[0]}] are the same path",
                why="one would take the place of the other",
                fix="give each its own path",
            )


def _backoffs(config: Config) -> Iterator[Finding]:
    first_s, max_s = config.retry.backoff_first_s, config.retry.backoff_max_s
    if first_s > max_s:
        yield Finding(
            names=(("retry", "backoff_first_s"), ("retry", "backoff_max_s")),
            what=f"backoff_first_s in [retry] ({first_s:g}) is above backoff_max_s ({max_s:g})",
            why="waits grow from the first to the longest, so the first cannot be longer",
            fix="lower backoff_first_s or raise backoff_max_s",
        )
