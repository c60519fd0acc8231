"""The admin socket's `/quarantine`: the damaged stores that were set aside, and an end to one of them."""

from collections.abc import Sequence

import msgspec
from aiohttp import web
from msgspec import Struct

from cio_buffer.admin.answers import declined, only, wrong
from cio_buffer.admin.quarantine_words import Quarantine, Removal, Removed, is_salvaged
from cio_buffer.admin.wrong import Declined, Wrong, misasked
from cio_buffer.errors import OutboxUnavailable, Refused
from cio_buffer.http.answers import in_json
from cio_buffer.http.body import Body
from cio_buffer.outbox.contract import Outbox, SetAside

ROOT = "/quarantine"
REMOVE = f"{ROOT}/remove"
LIST_HINT = "they are listed by: cio-buffer outbox quarantine list"
WAIT_HINT = "wait until it is: cio-buffer outbox quarantine list"


class SetAsideRoutes:
    """Answers for ROOT and REMOVE."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    async def answer(self, request: web.BaseRequest, body: Body) -> web.Response:
        path, _, query = request.raw_path.partition("?")
        methods = {ROOT: ("GET", "HEAD"), REMOVE: ("POST",)}.get(path)
        if methods is None:
            return wrong("not_found", f"Nothing is at {path}", 404, f"try {ROOT} or {REMOVE}")
        if request.method not in methods:
            return only(", ".join(methods))
        try:
            if query:
                raise misasked("invalid_request", "Nothing is asked here by the address")
            return in_json(200, await self._remove(await body.read()) if path == REMOVE else self._list())
        except Declined as no:
            return declined(no)
        except Refused as refused:
            response = wrong("unreadable_body", str(refused), refused.status)
            response.force_close()  # nobody knows where the next request would begin
            return response
        except OutboxUnavailable as problem:
            return wrong("store_unavailable", f"It cannot be removed just now: {problem}", 503, "look at its folder")

    def _list(self) -> Struct:
        return Quarantine(quarantine=list(self._outbox.set_aside()))

    async def _remove(self, asked: bytes) -> Struct:
        """The bytes that it took, known before it went. Raises Declined, OutboxUnavailable."""
        name = read_removal(asked).name
        removed = may_be_removed(name, self._outbox.set_aside())
        if not await self._outbox.remove_set_aside(name):
            raise unknown(name)  # somebody else was quicker
        return Removed(name=name, bytes=removed.bytes)


def read_removal(asked: bytes) -> Removal:
    """Raises Declined."""
    try:
        return msgspec.json.decode(asked, type=Removal)
    except msgspec.MsgspecError as problem:
        raise misasked("invalid_request", f"This is not how a removal is asked for: {problem}") from None


def may_be_removed(name: str, there: Sequence[SetAside]) -> SetAside:
    """The one of that name. Raises Declined where there is none, or it is still needed."""
    found = next((one for one in there if one.name == name), None)
    if found is None:
        raise unknown(name)
    if not is_salvaged(found):
        raise Declined(409, Wrong("not_salvaged", f"{name} is not salvaged yet: nothing may be lost of it", WAIT_HINT))
    return found


def unknown(name: str) -> Declined:
    return Declined(404, Wrong("unknown_name", f"No damaged store {name!r} is set aside", LIST_HINT))
