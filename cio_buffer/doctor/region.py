"""Asks Customer.io in which region the workspace lives: the cheapest question that shows whether the key is right."""

from typing import Literal

import msgspec
from msgspec import Struct

from cio_buffer.doctor.findings import Check, failed, ok, warning
from cio_buffer.upstream.transport import Reply, Request, TrackTransport
from cio_buffer.upstream.troubles import TroubleWord, hint_for

REGION = Request(method="GET", path="/api/v1/accounts/region", body=b"")
PATIENCE_MAX_S = 10.0
NAME = "upstream"


class Region(Struct, frozen=True):
    """What it answers; either host knows. More fields may come."""

    region: str


async def ask(url: str, *, site_id: str, api_key: str, connect_timeout_s: float, request_timeout_s: float) -> Reply:
    """Ask once, on the way by which entries leave: the same proxy, names and certificates."""
    transport = TrackTransport(
        url,
        site_id=site_id,
        api_key=api_key,
        connect_timeout_s=min(connect_timeout_s, PATIENCE_MAX_S),
        request_timeout_s=min(request_timeout_s, PATIENCE_MAX_S),
    )
    await transport.open()
    try:
        return await transport.send(REGION)
    finally:
        await transport.close()


def judge_region(reply: Reply, *, url: str, region: Literal["us", "eu"], is_own_url: bool) -> Check:
    """`region` is what the config says; with an address of one's own, `is_own_url`, it says nothing. Pure."""
    if word := trouble_of(reply):
        judge = warning if word in ("throttled", "unavailable") else failed
        return judge(NAME, f"{url}: {told(reply)} ({word})", hint_for(word) or "")
    try:
        lives_in = msgspec.json.decode(reply.body, type=Region).region
    except msgspec.MsgspecError:
        return failed(NAME, f"{url}: an answer that Customer.io does not give", hint_for("not_customer_io") or "")
    if lives_in != region and not is_own_url:
        where = f'"{lives_in}"' if lives_in in ("us", "eu") else "another region"
        return failed(
            NAME,
            f'the key is right, and the workspace lives in {where}, not in "{region}"',
            f"set upstream.region = {where} and restart: people's data goes to the wrong region"
            if lives_in in ("us", "eu")
            else "look at Customer.io's settings, and at upstream.region",
        )
    return ok(NAME, f"{url} takes the key; the workspace lives in {lives_in[:20]!r}")


def trouble_of(reply: Reply) -> TroubleWord | None:
    """Our word for an answer that is no yes, or for what took its place."""
    status = reply.status
    if status is None:
        return reply.trouble or "torn"
    words: dict[int, TroubleWord] = {401: "credentials_rejected", 403: "forbidden", 404: "not_found", 429: "throttled"}
    if status in words:
        return words[status]
    if status == 400:  # an earlier description has it in the place of 401
        return "credentials_rejected"
    if 300 <= status < 400:
        return "redirected"
    if status >= 500:
        return "unavailable"
    return None if status == 200 else "not_customer_io"


def told(reply: Reply) -> str:
    return f"status {reply.status}" if reply.status is not None else "no answer"
