"""`cio-buffer status`: asks the admin socket, with nothing that is slow to load."""

import http.client
import os
import socket
from pathlib import Path

import click
import msgspec

from cio_buffer.admin.durations import DAY_S, in_words
from cio_buffer.admin.status import OutboxStatus, Status
from cio_buffer.admin.warnings import is_stuck, warnings
from cio_buffer.cli import complain
from cio_buffer.config import ConfigError, find, glance, render

UNREACHABLE, BAD_CONFIG = 69, 78
TIMEOUT_S = 10.0
MIB = 1_048_576
INDENT = " " * 13
WAITS_S, FAR_OFF_S = 5.0, 7 * DAY_S
"""When what waits is more than what passes through, and when a full outbox is not worth a word."""


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a UNIX socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(self._path)


def status(config_path: Path | None, admin_path: str | None, *, as_json: bool) -> int:
    """Print the snapshot; returns the exit code."""
    try:
        path = admin_path or os.environ.get("CIO_BUFFER_ADMIN") or admin_socket_of(config_path)
        body = get(path, "/status")
        seen = msgspec.json.decode(body, type=Status)
    except ConfigError as mistakes:
        click.echo(render(mistakes.problems), err=True)
        return BAD_CONFIG
    except (OSError, msgspec.MsgspecError) as problem:
        complain(
            f"no daemon answers at {path} ({getattr(problem, 'strerror', None) or problem})",
            "it is not running, or listens elsewhere, or this user may not ask",
            "start it with: cio-buffer run   or name its socket: cio-buffer status --admin PATH",
        )
        return UNREACHABLE
    click.echo(body.decode().rstrip() if as_json else "\n".join(lines(seen)))
    return 1 if warnings(seen) else 0


def admin_socket_of(config_path: Path | None) -> str:
    return glance(find(config_path, os.environ), os.environ).admin.unix_path


def get(socket_path: str, path: str) -> bytes:
    """Ask the admin socket. Raises OSError where nobody answers."""
    connection = UnixConnection(socket_path)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        if answer.status != http.client.OK:
            raise OSError(f"it answers {answer.status}")
        return answer.read()
    except http.client.HTTPException as problem:
        raise OSError(f"it does not speak HTTP: {problem!r}") from None
    finally:
        connection.close()


def lines(seen: Status) -> list[str]:
    """One screen."""
    ledger, drain, upstream = seen.ledger, seen.drain, seen.upstream
    recent = "   ".join(f"{count} x {code}" for code, count in sorted(upstream.recent.items())) or "nothing sent lately"
    next_try = "" if upstream.next_try_in_s is None else f", next try in {in_words(upstream.next_try_in_s)}"
    lost = f"   {upstream.ambiguous} sent again, their answer was lost" if upstream.ambiguous else ""
    state = f"paused: {drain.paused}" if drain.paused else "running"
    return [
        f"cio_buffer {seen.version}  {seen.state}{because(seen.reasons)}   up {in_words(seen.uptime_s)}",
        f"ledger       {ledger.accepted} accepted = {ledger.delivered} delivered + {ledger.dead_lettered} dead lettered"
        f" + {ledger.pending + ledger.held + ledger.in_flight} still held",
        *outbox_lines(seen),
        f"drain        {state} ({drain.breaker})   {drain.entries_per_s:.0f} entries/s"
        f"   {drain.in_flight} of {drain.in_flight_limit} requests in flight, at most {drain.rate_limit_per_s:g}/s",
        f"upstream     {upstream.track_url}   {recent}{next_try}{lost}",
        *trouble_lines(seen),
        *(f"! {warning}" for warning in warnings(seen)),
    ]


def outbox_lines(seen: Status) -> list[str]:
    """What waits; and, where it says anything, how long that will go on."""
    ledger, outbox = seen.ledger, seen.outbox
    oldest = "" if outbox.oldest_age_s is None else f"   oldest {in_words(outbox.oldest_age_s)}"
    return [
        f"outbox       {ledger.pending} pending   {ledger.in_flight} in flight   {ledger.held} held aside"
        f"   {outbox.bytes / MIB:.1f} of {outbox.bytes_max / MIB:.0f} MiB{oldest}",
        f"{INDENT}{'   '.join([f'{outbox.accepted_per_s:.0f}/s accepted', *foreseen(outbox)])}",
    ]


def foreseen(outbox: OutboxStatus) -> list[str]:
    """Where little waits and much passes, the one is chance; far off, the other is."""
    told = []
    if outbox.empty_in_s is not None and (outbox.oldest_age_s or 0.0) >= WAITS_S:
        told.append(f"empty in {in_words(outbox.empty_in_s)} at this rate")
    if outbox.full_in_s is not None and outbox.full_in_s < FAR_OFF_S:
        told.append(f"full in {in_words(outbox.full_in_s)} at this inflow")
    return told


def trouble_lines(seen: Status) -> list[str]:
    """What goes wrong just now; in the warnings, if it needs a person."""
    upstream = seen.upstream
    if upstream.trouble is None:
        return []
    return [f"{INDENT}{upstream.trouble}" + ("" if is_stuck(seen) else f": {upstream.hint}")]


def because(reasons: list[str]) -> str:
    return f" ({', '.join(reasons)})" if reasons else ""
