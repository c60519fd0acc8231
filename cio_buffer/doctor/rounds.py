"""Goes from check to check: measures, and has it judged."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from cio_buffer.admin.status import Status
from cio_buffer.clock import Clock
from cio_buffer.config import Config
from cio_buffer.daemon import BALLAST_SHARE, TRACK_URLS
from cio_buffer.doctor import disk, disk_rules, region, socket_rules, sockets
from cio_buffer.doctor.config import judge_config, see_config
from cio_buffer.doctor.findings import Check, failed, ok
from cio_buffer.errors import UnknownGroup, UnknownUser
from cio_buffer.server.sockets import find_group, find_users
from cio_buffer.upstream.transport import Reply

AskDaemon = Callable[[str], tuple[Status | None, str]]
"""What the daemon at this socket says of itself, or None and why it says nothing."""

AskRegion = Callable[[Config, str], Reply]
"""What Customer.io answers, at this address, to the keys of a config."""

LOOK_FIX = "run this as the user that the daemon runs as"


def examine(
    config_path: Path | None,
    environ: Mapping[str, str],
    *,
    clock: Clock,
    ask_daemon: AskDaemon,
    ask_region: AskRegion | None,
) -> Iterator[Check]:
    """One check after the other, as they are made. Without `ask_region` Customer.io is left alone."""
    seen = see_config(config_path, environ)
    config = seen.config
    if config is None:
        yield judge_config(seen, is_daemon_there=False)
        return
    status, problem = ask_daemon(config.admin.unix_path)
    yield judge_config(seen, is_daemon_there=status is not None)
    yield from of_the_store(config, clock)
    yield from of_the_doors(config)
    yield socket_rules.judge_daemon(status, problem, config.admin.unix_path)
    if status is not None:
        yield socket_rules.judge_its_store(status)
    if ask_region is None or not seen.has_key:
        why = "--offline" if ask_region is None else "no key is known here"
        yield ok(region.NAME, f"not asked: {why}")
    else:
        yield of_upstream(config, ask_region)


def of_the_store(config: Config, clock: Clock) -> Iterator[Check]:
    outbox = config.outbox
    store = Path(outbox.path).absolute()
    try:
        folder = disk.see_folder(store)
    except OSError as problem:
        yield failed("store.folder", f"cannot look at {store.parent} ({problem.strerror})", LOOK_FIX)
        return
    yield disk_rules.judge_folder(folder)
    yield disk_rules.judge_files(folder)
    there = Path(folder.there)
    kind = disk.see_filesystem(there)
    yield disk_rules.judge_filesystem(kind)
    ballast = min(outbox.ballast_bytes, outbox.bytes_max // BALLAST_SHARE)
    yield disk_rules.judge_space(
        disk.see_space(store, there, ballast), free_min=outbox.disk_free_min_bytes, bytes_max=outbox.bytes_max
    )
    if folder.is_folder and folder.may_write:
        yield disk_rules.judge_syncs(disk.see_syncs(store, there, clock), kind)
    yield disk_rules.judge_cache(disk.see_cache(there))


def of_the_doors(config: Config) -> Iterator[Check]:
    listen = config.listen
    if listen.unix_path:
        seen = sockets.see_socket(Path(listen.unix_path))
        yield socket_rules.judge_socket("socket.api", "listen.unix_path", seen)
        yield judge_names("listen.unix_group", listen.unix_group, lambda: find_group(listen.unix_group))
        yield judge_names("listen.unix_users", listen.unix_users, lambda: find_users(listen.unix_user_names()))
    seen = sockets.see_socket(Path(config.admin.unix_path))
    yield socket_rules.judge_socket("socket.admin", "admin.unix_path", seen)
    for name, key, is_tls in (("port.http", "http", False), ("port.https", "https", True)):
        try:
            address = getattr(listen, key)()
        except ValueError:  # the config's own check has told
            continue
        if address:
            port = sockets.see_port(address.host, address.port, is_tls=is_tls)
            yield socket_rules.judge_port(name, f"listen.{key}_address", port)


def judge_names(key: str, named: str, find: Callable[[], object]) -> Check:
    unknown = ""
    try:
        if named:
            find()
    except (UnknownGroup, UnknownUser) as problem:
        unknown = str(problem)
    return socket_rules.judge_known(key.replace("listen.unix_", "access."), key, named, unknown)


def of_upstream(config: Config, ask: AskRegion) -> Check:
    upstream = config.upstream
    url = upstream.track_url or TRACK_URLS[upstream.region]
    return region.judge_region(ask(config, url), url=url, region=upstream.region, is_own_url=bool(upstream.track_url))
