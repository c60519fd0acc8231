"""What arrived at the App API, byte for byte, and what was answered."""

import hashlib
from collections import deque

import msgspec

from cio_buffer.sandbox.app_calls import AppCall, Extent, RawHeaders

# Of a larger body only its length and hash are kept.
BODY_KEPT_MAX_BYTES = 1024 * 1024


class AppRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One request as it came off the wire. `number` counts from 1; `at` is Unix seconds.

    `path` is raw, with its query; `headers` have their order and spelling. `body` is None above BODY_KEPT_MAX_BYTES,
    `body_bytes` and `body_sha256` (in hex) are always those of what arrived. `extent` says whether that was all.
    `status` is what was answered, even if that did not arrive; None when the connection was dropped instead.
    """

    number: int
    at: float
    method: str
    path: str
    headers: RawHeaders
    body: bytes | None
    body_bytes: int
    body_sha256: str
    extent: Extent
    status: int | None


class AppLedger:
    """Keeps the newest `limit` requests, or fewer when they are larger than `kept_max_bytes` together."""

    def __init__(self, *, limit: int = 1000, kept_max_bytes: int = 64 * 1024 * 1024) -> None:
        self.requests: deque[AppRequest] = deque()
        self.requests_total = 0
        self._limit = limit
        self._kept_max_bytes = kept_max_bytes
        self._kept_bytes = 0

    def record(self, call: AppCall, *, at: float, status: int | None) -> AppRequest:
        """Write down a request and what was answered."""
        self.requests_total += 1
        request = AppRequest(
            number=self.requests_total,
            at=at,
            method=call.method,
            path=call.path,
            headers=call.headers,
            body=call.body if len(call.body) <= BODY_KEPT_MAX_BYTES else None,
            body_bytes=len(call.body),
            body_sha256=hashlib.sha256(call.body).hexdigest(),
            extent=call.extent,
            status=status,
        )
        self.requests.append(request)
        self._kept_bytes += _size_bytes(request)
        self._forget_the_oldest()
        return request

    def _forget_the_oldest(self) -> None:
        while len(self.requests) > self._limit or self._kept_bytes > self._kept_max_bytes:
            self._kept_bytes -= _size_bytes(self.requests.popleft())


def _size_bytes(request: AppRequest) -> int:
    headers = sum(len(name) + len(value) for name, value in request.headers)
    return len(request.path) + headers + len(request.body or b"")
