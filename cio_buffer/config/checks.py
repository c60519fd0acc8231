"""What types cannot say: keys that need each other, and values with a meaning of their own. Pure."""

import os
from collections.abc import Iterator
from itertools import combinations

from cio_buffer.config.addresses import is_loopback, parse_http_address, parse_url
from cio_buffer.config.keys import SOCKET_PATH_MAX_BYTES, Config
from cio_buffer.config.reading import Finding
from cio_buffer.config.sources import Name


def check(config: Config) -> Iterator[Finding]:
    """Everything about `config` that cannot work, except for its key: `track_key.py` has that."""
    yield from _workspace(config)
    yield from _listeners(config)
    yield from _http_address(config)
    yield from _track_url(config)
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
    if not config.listen.unix_path and not config.listen.http_address:
        yield Finding(
            names=(("listen", "unix_path"), ("listen", "http_address")),
            what="unix_path and http_address in [listen] are both off",
            why="no app could reach the daemon",
            fix="set at least one of them",
        )


def _http_address(config: Config) -> Iterator[Finding]:
    try:
        if config.listen.http_address:
            parse_http_address(config.listen.http_address)
    except ValueError as error:
        yield Finding(
            names=(("listen", "http_address"),),
            what=f"http_address in [listen] cannot be used: {error}",
            why="whoever reaches this address can send in your name, and it speaks clear text: it must stay local",
            fix='use an address of this machine only, such as "127.0.0.1:8246"',
        )


def _track_url(config: Config) -> Iterator[Finding]:
    if not config.upstream.track_url:
        return
    try:
        url = parse_url(config.upstream.track_url)
        if url.scheme == "http" and not is_loopback(url.hostname or ""):
            raise ValueError("it is plain http to another machine")
    except ValueError as error:
        yield Finding(
            names=(("upstream", "track_url"),),
            what=f"track_url in [upstream] cannot be used: {error}",
            why="the API key and people's data travel to this address",
            fix='use https, or plain http to this machine only; "" takes the region\'s own address',
        )


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
