"""Drop-in: an App API call is forwarded at once, unchanged, never stored, never sent twice by us; whoever may call may.

That every call of the real SDKs works is in tests/sdk.
"""

import asyncio
import json
import os
import signal
from pathlib import Path

import pytest

from tests.promises.apps import Apps, event, marks_in_effect
from tests.promises.conftest import Upstream
from tests.support.process import AUTHORIZATION, Daemon, until

SECRET = "only-for-ann-3141"
MAIL = {
    "transactional_message_id": "3",
    "to": "ann@example.com",
    "identifiers": {"id": "ann"},
    "message_data": {"x": SECRET},
}
BEARER = {"Authorization": "Bearer app-key"}
SEND = "/v1/send/email"


@pytest.fixture
async def daemon(folder: Path, upstream: Upstream):
    """With an upstream for App calls too."""
    daemon = Daemon(folder, upstream.url, environ={"CIO_BUFFER__UPSTREAM__APP_URL": upstream.url})
    async with daemon:
        yield daemon
    print("the daemon said:", daemon.log.read_text()[-3_000:])


async def test_a_send_is_answered_at_once_and_leaves_no_trace(daemon: Daemon, upstream: Upstream) -> None:
    status, body = await daemon.call("POST", SEND, MAIL, headers=BEARER)
    assert (status, sorted(json.loads(body))) == (200, ["delivery_id", "queued_at"])
    (sent,) = upstream.app_ledger.requests
    assert json.loads(sent.body or b"") == MAIL
    seen = await daemon.status()
    assert (seen["ledger"]["accepted"], seen["passthrough"]) == (0, {"requests": 1, "failed": 0})
    await daemon.stop()
    kept = b"".join(path.read_bytes() for path in daemon.folder.rglob("*") if path.is_file())
    assert SECRET.encode() not in kept


@pytest.mark.parametrize("trouble", ["outage", "credentials"])
async def test_it_works_while_the_track_side_is_held(
    daemon: Daemon, apps: Apps, upstream: Upstream, trouble: str
) -> None:
    status = {"outage": 503, "credentials": 401}[trouble]
    upstream.faults.answer(status, headers={"Retry-After": "1"}, path_prefix="/api/")  # one of them holds everything
    assert await apps.say([event("ann", "first")])
    await daemon.until(lambda seen: seen["drain"]["paused"] == trouble)
    assert (await daemon.call("POST", SEND, MAIL, headers=BEARER))[0] == 200
    upstream.faults.clear()
    await daemon.until_empty()
    assert marks_in_effect(upstream) == ["first"]


async def test_it_works_while_nothing_can_be_stored(folder: Path, upstream: Upstream) -> None:
    """A disk without room: events are refused with 503, mails go out."""
    environ = {"CIO_BUFFER__UPSTREAM__APP_URL": upstream.url, "CIO_BUFFER__OUTBOX__DISK_FREE_MIN_BYTES": str(2**60)}
    async with Daemon(folder, upstream.url, environ=environ) as daemon:
        assert (await daemon.call("PUT", "/api/v1/customers/ann", {}))[0] == 503
        assert (await daemon.call("POST", SEND, MAIL, headers=BEARER))[0] == 200


async def test_it_waits_behind_nothing(daemon: Daemon, apps: Apps, upstream: Upstream) -> None:
    """Neither behind a Track request that hangs, nor behind App calls that do."""
    upstream.faults.delay(30, path_prefix="/api/")
    upstream.faults.delay(30, path_prefix="/v1/customers")
    assert await apps.say([event("ann", "slow")])
    hanging = [asyncio.ensure_future(daemon.call("GET", "/v1/customers", headers=BEARER)) for _ in range(20)]
    await until(lambda: len(upstream.app_ledger.requests) == 20)
    status, _ = await daemon.call("POST", SEND, MAIL, headers=BEARER)
    assert (status, [one.done() for one in hanging]) == (200, [False] * 20)
    for one in hanging:
        one.cancel()
    await asyncio.gather(*hanging, return_exceptions=True)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "GET"])
async def test_a_lost_answer_is_not_asked_for_again(daemon: Daemon, upstream: Upstream, method: str) -> None:
    """The mail is on its way; a second one would be worse than none. 424 is what no SDK repeats."""
    upstream.faults.lose_answers(requests=1, path_prefix="/v1/")
    status, body = await daemon.call(method, SEND, MAIL, headers=BEARER)
    assert (status, "may have been sent" in json.loads(body)["meta"]["error"]) == (424, True)
    assert upstream.app_ledger.requests_total == 1
    assert (await daemon.status())["passthrough"] == {"requests": 1, "failed": 1}


async def test_while_customer_io_is_down_nothing_was_sent_and_that_is_said(daemon: Daemon, upstream: Upstream) -> None:
    await upstream.go_down()
    status, body = await daemon.call("POST", SEND, MAIL, headers=BEARER)
    assert (status, "nothing was sent" in json.loads(body)["meta"]["error"]) == (503, True)
    await upstream.come_up()
    assert (await daemon.call("POST", SEND, MAIL, headers=BEARER))[0] == 200
    assert upstream.app_ledger.requests_total == 1


async def test_a_stop_lets_a_mail_that_is_under_way_go_out(daemon: Daemon, upstream: Upstream) -> None:
    upstream.faults.delay(0.5, path_prefix="/v1/")
    sending = asyncio.ensure_future(daemon.call("POST", SEND, MAIL, headers=BEARER))
    await until(lambda: upstream.app_ledger.requests_total == 1)
    daemon.signal(signal.SIGTERM)
    assert (await sending)[0] == 200
    assert await daemon.ended() == 0


async def test_the_region_is_asked_for_at_once_with_our_credentials(daemon: Daemon, upstream: Upstream) -> None:
    status, body = await daemon.call("GET", "/api/v1/accounts/region")
    assert (status, json.loads(body)["region"]) == (200, "us")
    assert (await daemon.status())["ledger"]["accepted"] == 0


WRONG = "Basic c2l0ZTp3cm9uZw=="  # site:wrong
OTHER = "Basic b3RoZXI6a2V5"  # other:key


@pytest.mark.parametrize(
    ("door", "shown", "status"),
    [
        ("unix", None, 200),
        ("unix", AUTHORIZATION, 200),
        ("unix", WRONG, 200),
        ("unix", OTHER, 401),
        ("tcp", AUTHORIZATION, 200),
        ("tcp", "", 401),
        ("tcp", WRONG, 401),
        ("tcp", OTHER, 401),
        ("tcp", "Bearer app-key", 401),
    ],
)
async def test_a_port_wants_credentials_and_a_socket_has_permissions(
    daemon: Daemon, upstream: Upstream, door: str, shown: str | None, status: int
) -> None:
    headers = {} if shown is None else {"Authorization": shown}
    for path, body in (("/api/v1/customers/ann/events", {"name": "b"}), ("/api/v2/entity", ENTITY)):
        assert (await daemon.call("POST", path, body, door=door, headers=headers))[0] == status
    assert (await daemon.call("GET", "/api/v1/accounts/region", door=door, headers=headers))[0] == status
    open_to_all = await daemon.call("POST", "/unsubscribe/d1", {"unsubscribe": True}, door=door, headers=headers)
    assert open_to_all[0] == (401 if shown == OTHER else 200)  # it needs none, and none of another workspace
    await daemon.until_empty()
    assert upstream.ledger.counts["taken"] == (2 * (status == 200)) + (shown != OTHER)


ENTITY = {"type": "person", "action": "event", "identifiers": {"id": "ann"}, "name": "b"}


@pytest.mark.parametrize(("users", "status"), [("nobody", 403), (f"nobody, {os.getuid()}", 200)])
async def test_a_socket_may_be_narrowed_to_some_users(
    folder: Path, upstream: Upstream, users: str, status: int
) -> None:
    async with Daemon(folder, upstream.url, environ={"CIO_BUFFER__LISTEN__UNIX_USERS": users}) as daemon:
        answered, body = await daemon.call("PUT", "/api/v1/customers/ann", {})
        assert answered == status, body
        assert (await daemon.call("PUT", "/api/v1/customers/ann", {}, door="tcp"))[0] == 200
