"""What is thought of doors, and of who is behind them."""

import msgspec
import pytest

from cio_buffer.admin.quarantine_words import quarantined
from cio_buffer.doctor import socket_rules
from cio_buffer.doctor.sockets import PortSeen, SocketSeen
from tests.admin.rooms import Rooms, damaged

SOCKET = SocketSeen(path="/run/x/api.sock", bytes=15, kind="nothing", folder="/run/x", may_make=True)


@pytest.mark.parametrize(
    ("fields", "state", "told"),
    [
        ({}, "ok", "can be made"),
        ({"bytes": 107}, "ok", "can be made"),
        ({"bytes": 108}, "failed", "has 108 bytes"),
        ({"may_make": False}, "failed", "cannot be made by this user in /run/x"),
        ({"kind": "answered", "may_make": False}, "ok", "somebody answers"),
        ({"kind": "leftover"}, "warning", "is left from a daemon that was killed"),
        ({"kind": "leftover", "may_make": False}, "failed", "cannot be made"),
        ({"kind": "no socket"}, "failed", "is no socket"),
        ({"kind": "silent"}, "failed", "does not answer"),
        ({"kind": "not ours to ask", "may_make": False}, "warning", "may not ask"),
    ],
)
def test_a_socket_can_be_made_or_is_served(fields, state, told):
    judged = socket_rules.judge_socket("socket.api", "listen.unix_path", msgspec.structs.replace(SOCKET, **fields))
    assert (judged.name, judged.state) == ("socket.api", state)
    assert told in judged.seen
    assert bool(judged.fix) is (state != "ok")


@pytest.mark.parametrize(
    ("fields", "state", "told"),
    [
        ({}, "ok", "is free"),
        ({"is_held": True, "is_ours": True}, "ok", "a running daemon has"),
        ({"is_held": True}, "failed", "somebody else has"),
        ({"problem": "Permission denied"}, "failed", "Permission denied"),
    ],
)
def test_a_port_is_free_or_ours(fields, state, told):
    judged = socket_rules.judge_port("port.http", "listen.http_address", PortSeen(address="127.0.0.1:1", **fields))
    assert judged.state == state
    assert told in judged.seen


def test_names_that_nobody_knows_keep_the_daemon_from_starting():
    judged = socket_rules.judge_known("access.group", "listen.unix_group", "apps", "there is no group 'apps'")
    assert judged.state == "failed"
    assert socket_rules.judge_known("access.group", "listen.unix_group", "", "").state == "ok"


@pytest.mark.parametrize(
    ("state", "reasons", "judged_as"),
    [("ready", [], "ok"), ("refusing", ["disk_low"], "failed"), ("stopping", ["stopping"], "warning")],
)
async def test_a_daemon_takes_operations(state, reasons, judged_as):
    seen = msgspec.structs.replace(await Rooms().observer.status(), state=state, reasons=reasons)
    judged = socket_rules.judge_daemon(seen, "", "/run/admin.sock")
    assert judged.state == judged_as
    assert all(reason in judged.seen for reason in reasons)


def test_no_daemon_is_a_warning():
    judged = socket_rules.judge_daemon(None, "No such file or directory", "/run/admin.sock")
    assert judged.state == "warning"
    assert "/run/admin.sock (No such file or directory)" in judged.seen


@pytest.mark.parametrize(
    ("fields", "balanced", "told"),
    [
        ({}, True, ""),
        ({"quarantined": [quarantined(damaged())]}, True, "a damaged store was set aside"),
        ({"is_salvaging": True}, True, "nothing leaves"),
        ({"errors": {"commit": 2}}, True, "2 x commit), and does not now"),
        ({"errors": {"checkpoint": 2}, "is_checkpoint_failing": True}, True, "(2 times since the start)"),
        ({}, False, "the ledger does not agree"),
    ],
)
async def test_its_store_is_in_no_trouble(fields, balanced, told):
    seen = await Rooms().observer.status()
    outbox = msgspec.structs.replace(seen.outbox, **fields)
    ledger = msgspec.structs.replace(seen.ledger, balanced=balanced)
    judged = socket_rules.judge_its_store(msgspec.structs.replace(seen, outbox=outbox, ledger=ledger))
    assert judged.state == ("warning" if told else "ok")
    assert told in judged.seen
