"""What operators are told when it is a no, as HTTP."""

from collections.abc import Mapping

from aiohttp import web

from cio_buffer.admin.wrong import Declined, Wrong
from cio_buffer.http.answers import in_json


def wrong(
    code: str, detail: str, status: int, hint: str = "", headers: Mapping[str, str] | None = None
) -> web.Response:
    return in_json(status, Wrong(code, detail, hint), headers)


def declined(no: Declined) -> web.Response:
    return in_json(no.status, no.wrong)


def only(methods: str) -> web.Response:
    """For whoever came by another method; `methods` as HTTP lists them."""
    return wrong("method_not_allowed", f"Only {methods} is answered here", 405, headers={"Allow": methods})
