"""`cio-buffer status`: asks the admin socket, with nothing that is slow to load."""

import shlex
from pathlib import Path

import click

from cio_buffer.admin.durations import DAY_S, in_words
from cio_buffer.admin.status import LedgerStatus, OutboxStatus, Status
from cio_buffer.admin.warnings import is_stuck, warnings
from cio_buffer.cli.client import AdminSocket, read, with_daemon
from cio_buffer.cli.request_words import plain

MIB = 1_048_576
INDENT = " " * 13
WAITS_S, FAR_OFF_S = 5.0, 7 * DAY_S
"""When what waits is more than what passes through, and when a full outbox is not worth a word."""


RUNAWAY_ENTRIES_MIN, RUNAWAY_SHARE_MIN = 1_000, 0.1
"""From when on one lane is more than chance: of so many that wait, it has such a share."""


def status(config_path: Path | None, admin_path: str | None, *, as_json: bool) -> int:
    """Print the snapshot; returns the exit code."""

    def show(daemon: AdminSocket) -> int:
        body = daemon.get("/status")
        seen = read(body, Status)
        click.echo(body.decode().rstrip() if as_json else "\n".join(lines(seen)))
        return 1 if warnings(seen) else 0

    return with_daemon(config_path, admin_path, show)


def lines(seen: Status) -> list[str]:
    """One screen."""
    ledger, drain, upstream = seen.ledger, seen.drain, seen.upstream
    recent = "   ".join(f"{count} x {code}" for code, count in sorted(upstream.recent.items())) or "nothing sent lately"
    next_try = "" if upstream.next_try_in_s is None else f", next try in {in_words(upstream.next_try_in_s)}"
    lost = f"   {upstream.ambiguous} sent again, their answer was lost" if upstream.ambiguous else ""
    state = f"paused: {drain.paused}" if drain.paused else "running"
    return [
        f"cio_buffer {seen.version}  {seen.state}{because(seen.reasons)}   up {in_words(seen.uptime_s)}",
        ledger_line(ledger),
        *outbox_lines(seen),
        *store_lines(seen.outbox),
        *lane_lines(seen),
        f"drain        {state} ({drain.breaker})   {drain.entries_per_s:.0f} entries/s"
        f"   {drain.in_flight} of {drain.in_flight_limit} requests in flight, at most {drain.rate_limit_per_s:g}/s",
        f"upstream     {upstream.track_url}   {recent}{next_try}{lost}",
        *trouble_lines(seen),
        *(f"! {plain(warning)}" for warning in warnings(seen)),
    ]


def ledger_line(ledger: LedgerStatus) -> str:
    """A sum that comes out; what most daemons never have is left out of it where there is none."""
    replayed = f" + {ledger.replayed} replayed" if ledger.replayed else ""
    salvaged = f" + {ledger.salvaged} salvaged" if ledger.salvaged else ""
    purged = f" + {ledger.purged} purged" if ledger.purged else ""
    return (
        f"ledger       {ledger.accepted} accepted{replayed}{salvaged} = {ledger.delivered} delivered"
        f" + {ledger.dead_lettered} dead lettered{purged} + {still_held(ledger)} still held"
    )


def still_held(ledger: LedgerStatus) -> int:
    return ledger.pending + ledger.held + ledger.in_flight


def outbox_lines(seen: Status) -> list[str]:
    """What waits; and, where it says anything, how long that will go on."""
    ledger, outbox = seen.ledger, seen.outbox
    oldest = "" if outbox.oldest_age_s is None else f"   oldest {in_words(outbox.oldest_age_s)}"
    return [
        f"outbox       {ledger.pending} pending   {ledger.in_flight} in flight   {ledger.held} held aside"
        f"   {seen.dead_letters.count} dead   {outbox.bytes / MIB:.1f} of {outbox.bytes_max / MIB:.0f} MiB{oldest}",
        f"{INDENT}{'   '.join([f'{outbox.accepted_per_s:.0f}/s accepted', *foreseen(outbox)])}",
    ]


def store_lines(outbox: OutboxStatus) -> list[str]:
    """What went wrong with the disk, or the file, if anything did."""
    told = []
    if outbox.quarantined:
        stores = len(outbox.quarantined)
        mib = sum(one.bytes for one in outbox.quarantined) / MIB
        told.append(f"{stores} damaged store{'' if stores == 1 else 's'} set aside, {mib:.1f} MiB")
    if outbox.errors:
        errors = ", ".join(f"{count:,} x {plain(doing)}" for doing, count in sorted(outbox.errors.items()))
        told.append(f"errors since the start: {errors}")
    return [f"{INDENT}{'   '.join(told)}"] if told else []


def lane_lines(seen: Status) -> list[str]:
    """The busiest lane, if it has so much of what waits that somebody should know: mostly one person's."""
    if not seen.lanes or still_held(seen.ledger) < RUNAWAY_ENTRIES_MIN or seen.lanes[0].share < RUNAWAY_SHARE_MIN:
        return []
    busiest = seen.lanes[0]
    about = "about " if busiest.is_estimate else ""
    whose = ", with admin.show_payloads = true it is named here"
    if busiest.name is not None:
        is_plain = busiest.name == plain(busiest.name)  # else the command would be about somebody else
        whose = f": cio-buffer trace --person {shlex.quote(busiest.name)}" if is_plain else f": {plain(busiest.name)}"
    return [f"{INDENT}lane {busiest.lane} has {about}{busiest.share:.0%} of what waits{whose}".replace("%", " %", 1)]


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
