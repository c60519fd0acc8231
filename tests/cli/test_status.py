"""`cio-buffer status`: for people, for scripts, and where nobody answers."""

import asyncio
import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cio_buffer.admin.status import Status
from cio_buffer.cli.status import lines
from cio_buffer.sandbox import Sandbox
from cio_buffer.upstream.limits import CAMPAIGN_AGE_MAX_S
from cio_buffer.upstream.troubles import hint_for
from tests.admin.rooms import Rooms
from tests.cli.conftest import command
from tests.support.process import Daemon, until

DOCUMENTED: dict[str, Any] = {
    **dict.fromkeys(("version", "state", "reasons", "uptime_s", "mode", "listening")),
    "ledger": [
        "accepted",
        "replayed",
        "delivered",
        "dead_lettered",
        "purged",
        "pending",
        "held",
        "in_flight",
        "balanced",
        "salvaged",
    ],
    "outbox": [
        "entries",
        "bytes",
        "bytes_max",
        "oldest_age_s",
        "is_stale",
        "accepted_per_s",
        "empty_in_s",
        "full_in_s",
        "order_violations",
        "log_lines",
        "log_bytes",
        "quarantined",
        "is_salvaging",
        "errors",
        "is_checkpoint_failing",
    ],
    "drain": [
        "state",
        "paused",
        "breaker",
        "entries_per_s",
        "rate_limit_per_s",
        "v1_behind_s",
        "in_flight",
        "in_flight_limit",
    ],
    "upstream": ["track_url", "recent", "trouble", "hint", "next_try_in_s", "ambiguous"],
    "passthrough": ["requests", "failed"],
    "dead_letters": ["count", "bytes", "bytes_max", "purged", "evicted", "evicted_lately", "by_reason"],
    "lanes": None,
}
"""The fields that scripts may lean on."""


async def status(*arguments: object, **environ: str) -> tuple[int, str, str]:
    """The command's exit code, and what it wrote to stdout and to stderr."""
    ended = await asyncio.to_thread(command, "status", *map(str, arguments), environ=environ)
    return ended.returncode, ended.stdout, ended.stderr


@pytest.mark.parametrize("there", ["nothing", "a leftover socket"])
async def test_nobody_there_is_69_and_says_what_to_do(folder: Path, daemon: Daemon, there: str) -> None:
    """Also where a kill left the socket's file."""
    await (daemon.kill if there == "a leftover socket" else daemon.stop)()
    code, out, err = await status("--admin", folder / "admin.sock")
    assert (code, out) == (69, "")
    assert err.startswith(f"error: no daemon answers at {folder}/admin.sock")
    assert "cio-buffer run" in err
    assert "Traceback" not in err


async def test_the_json_has_the_documented_fields_and_no_others(daemon: Daemon) -> None:
    code, out, err = await status("--config", daemon.config, "--json")
    assert (code, err) == (0, "")
    seen = json.loads(out)
    assert list(seen) == list(DOCUMENTED)
    for part, fields in DOCUMENTED.items():
        if fields:
            assert list(seen[part]) == fields, part
    assert (seen["state"], seen["reasons"], seen["mode"]) == ("ready", [], "live")
    assert (seen["lanes"], seen["dead_letters"]["by_reason"]) == ([], {})
    assert seen["listening"][0] == f"unix:{daemon.folder}/api.sock"
    assert seen["listening"][1].startswith("http://127.0.0.1:")
    assert "key" not in out.replace("upstream", "")


async def test_the_socket_is_found_by_option_environment_and_config(daemon: Daemon) -> None:
    admin = f"{daemon.folder}/admin.sock"
    for code, out, _ in (
        await status("--admin", admin, "--config", "/nowhere.toml"),
        await status(CIO_BUFFER_ADMIN=admin),
        await status(CIO_BUFFER_CONFIG=str(daemon.config)),
    ):
        assert code == 0
        assert out.startswith("cio_buffer ")


async def test_one_screen_tells_how_it_is(daemon: Daemon, sandbox: Sandbox) -> None:
    sandbox.faults.answer(503, headers={"Retry-After": "60"})
    assert (await daemon.call("POST", "/api/v1/customers/ann/events", {"name": "did"}))[0] == 200
    await until(lambda: sandbox.ledger.requests_total > 0)
    await daemon.until(lambda seen: seen["drain"]["paused"] == "outage")
    code, out, _ = await status("--config", daemon.config)
    assert code == 0  # an outage upstream is what it is for
    assert "\n!" not in out
    for told in (
        "ready",
        "1 accepted = 0 delivered + 0 dead lettered + 1 still held",
        "paused: outage (open)",
        "x 503, next try in ",
        f"unavailable: {hint_for('unavailable')}",
    ):
        assert told in out


async def test_a_key_that_is_rejected_needs_a_person(daemon: Daemon, sandbox: Sandbox) -> None:
    sandbox.faults.answer(401)
    assert (await daemon.call("POST", "/api/v1/customers/ann/events", {"name": "did"}))[0] == 200
    await daemon.until(lambda seen: seen["drain"]["paused"] == "credentials")
    code, out, _ = await status("--config", daemon.config)
    assert code == 1
    assert f"\n! {hint_for('credentials_rejected')}\n" in out
    assert out.count("Customer.io rejects") == 1


async def test_what_waits_for_three_days_needs_a_person_and_is_logged(daemon: Daemon, sandbox: Sandbox) -> None:
    sandbox.faults.answer(503, headers={"Retry-After": "1"})
    assert (await daemon.call("POST", "/api/v1/customers/ann/events", {"name": "did"}))[0] == 200
    assert not (await daemon.status())["outbox"]["is_stale"]
    await daemon.kill()
    with sqlite3.connect(daemon.store) as store:
        for table in ("event", "parked"):
            aged = f"UPDATE {table} SET accepted_at_ms = accepted_at_ms - {CAMPAIGN_AGE_MAX_S * 1000:.0f}"
            store.execute(aged)
    store.close()
    await daemon.start()
    code, out, _ = await status("--config", daemon.config)
    assert code == 1
    assert "\n! the oldest entry has waited for 72 h: no campaign starts any more" in out
    await until(lambda: "outbox.stale" in daemon.log.read_text())
    [line] = [line for line in daemon.log_lines() if line["event"] == "outbox.stale"]
    assert (line["level"], line["oldest_age_s"] > CAMPAIGN_AGE_MAX_S) == ("warning", True)
    assert "no campaign starts" in line["hint"]
    sandbox.faults.clear()
    assert not (await daemon.until_empty())["outbox"]["is_stale"]


async def test_wrong_books_need_a_person(daemon: Daemon) -> None:
    await daemon.stop()
    with sqlite3.connect(daemon.store) as store:
        store.execute("UPDATE ledger SET accepted = accepted + 1")
    store.close()
    await daemon.start()
    await daemon.until(lambda seen: not seen["ledger"]["balanced"])
    code, out, _ = await status("--config", daemon.config)
    assert code == 1
    assert "\n! the ledger does not agree" in out


async def test_a_dead_letter_needs_a_person(daemon: Daemon, sandbox: Sandbox) -> None:
    sandbox.faults.answer(400)
    assert (await daemon.call("POST", "/api/v1/customers/ann/events", {"name": "did"}))[0] == 200
    await daemon.until(lambda seen: seen["dead_letters"]["by_reason"] == {"refused": 1})
    code, out, _ = await status("--config", daemon.config)
    assert code == 1
    assert "   1 dead   " in out
    assert "\n! 1 dead letter (1 refused): cio-buffer dead list\n" in out


async def test_a_lane_that_runs_away_is_told_and_named_where_that_is_wanted(daemon: Daemon, sandbox: Sandbox) -> None:
    """By the store itself, and read by the command."""
    sandbox.faults.answer(503, headers={"Retry-After": "60"})
    operations = [event("ann")] * 600 + [event(f"p{number}") for number in range(400)]
    assert (await daemon.call("POST", "/api/v2/batch", {"batch": operations}))[0] == 200
    await daemon.until(lambda seen: seen["lanes"][:1] and seen["lanes"][0]["entries"] == 600)
    _, out, _ = await status("--config", daemon.config)
    assert re.search(r"\n {13}lane [0-9a-f]{10} has 60 % of what waits, with admin.show_payloads = true", out)
    assert "id:ann" not in out
    await daemon.kill()
    daemon.config.write_text(daemon.config.read_text().replace("[admin]\n", "[admin]\nshow_payloads = true\n"))
    await daemon.start()
    await daemon.until(lambda seen: seen["lanes"][:1] and seen["lanes"][0]["name"] == "id:ann")
    _, out, _ = await status("--config", daemon.config)
    assert "has 60 % of what waits: cio-buffer trace --person id:ann\n" in out


def event(person: str) -> dict[str, object]:
    return {"type": "person", "action": "event", "identifiers": {"id": person}, "name": "did"}


async def screen(**parts: Any) -> str:
    """The screen of a daemon where all is well but for `parts`."""
    seen = msgspec.to_builtins(await Rooms().observer.status())
    for part, fields in parts.items():
        seen[part] = fields if part == "lanes" else seen[part] | fields
    return "\n".join(lines(msgspec.convert(seen, Status)))


@pytest.mark.parametrize(
    ("outbox", "told", "not_told"),
    [
        ({"oldest_age_s": 90.0, "empty_in_s": 240.0}, "empty in 4 min at this rate", "full in"),
        ({"oldest_age_s": 0.2, "empty_in_s": 240.0}, "accepted", "empty in"),  # it only passes through
        ({"oldest_age_s": 90.0, "empty_in_s": None}, "oldest 90 s", "empty in"),
        ({"full_in_s": 9 * 3_600.0}, "full in 9 h at this inflow", "!"),
        ({"full_in_s": 40 * 86_400.0}, "accepted", "full in"),
        ({"full_in_s": 1_800.0}, "\n! the outbox is full in 30 min at this inflow", "empty in"),
        ({"accepted_per_s": 412.3}, "412/s accepted", "!"),
        ({"is_stale": True, "oldest_age_s": 80 * 3_600.0}, "oldest 80 h", "full in"),
    ],
    ids=str,
)
async def test_what_comes_is_told_in_words(outbox: dict[str, Any], told: str, not_told: str) -> None:
    shown = await screen(outbox=outbox)
    assert told in shown
    assert not_told not in shown


async def test_trouble_that_is_not_ours_to_mend_is_told_below_upstream() -> None:
    upstream = {"trouble": "throttled", "hint": hint_for("throttled"), "ambiguous": 3}
    shown = (await screen(upstream=upstream)).splitlines()
    assert shown[-1] == f"             throttled: {hint_for('throttled')}"
    assert shown[-2].endswith("3 sent again, their answer was lost")


async def test_a_word_that_this_command_does_not_know_is_told_as_it_is() -> None:
    """The daemon may be newer than the command."""
    shown = await screen(upstream={"trouble": "sulking", "hint": "be kind"}, drain={"paused": "outage"})
    assert shown.endswith("sulking: be kind")


def lane(share: float, *, name: str | None = None, is_estimate: bool = False) -> dict[str, object]:
    return {"lane": "3fa9c2d1e0", "name": name, "entries": 5, "share": share, "is_estimate": is_estimate}


WHO = ", with admin.show_payloads = true it is named here"


@pytest.mark.parametrize(
    ("pending", "lanes", "told"),
    [
        (1_000, [lane(0.61)], f"lane 3fa9c2d1e0 has 61 % of what waits{WHO}"),
        (1_000, [lane(1.0)], f"lane 3fa9c2d1e0 has 100 % of what waits{WHO}"),
        (1_000, [lane(0.1, is_estimate=True)], f"lane 3fa9c2d1e0 has about 10 % of what waits{WHO}"),
        (1_000, [lane(0.61, name="id:5")], "lane 3fa9c2d1e0 has 61 % of what waits: cio-buffer trace --person id:5"),
        (1_000, [lane(0.61, name="id:a b$(x)")], "what waits: cio-buffer trace --person 'id:a b$(x)'"),
        (1_000, [lane(0.61, name="id:\x1b[2J100%")], "what waits: id:?[2J100%"),
        (1_000, [lane(0.3), lane(0.29)], "lane 3fa9c2d1e0 has 30 %"),
        (1_000, [lane(0.099)], ""),
        (999, [lane(1.0)], ""),
        (1_000, [], ""),
    ],
)
async def test_a_lane_with_much_of_what_waits_is_told(pending: int, lanes: list[dict[str, object]], told: str) -> None:
    shown = await screen(ledger={"accepted": pending, "pending": pending}, lanes=lanes)
    assert [line.strip() for line in shown.splitlines() if "lane " in line and told in line] or not told
    assert shown.count("lane ") == (1 if told else 0)
    assert "\x1b" not in shown


async def test_the_ledger_that_is_told_comes_out() -> None:
    plain = await screen(ledger={"accepted": 9, "delivered": 8, "dead_lettered": 1})
    assert "ledger       9 accepted = 8 delivered + 1 dead lettered + 0 still held\n" in plain
    replayed = await screen(ledger={"accepted": 9, "replayed": 2, "delivered": 7, "dead_lettered": 3, "purged": 1})
    assert "9 accepted + 2 replayed = 7 delivered + 3 dead lettered + 1 purged + 0 still held\n" in replayed
