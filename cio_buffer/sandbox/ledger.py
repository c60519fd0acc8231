"""What arrived, in order, and what became of it."""

from collections import Counter, deque
from collections.abc import Sequence
from typing import Literal, TypeAlias

import msgspec

from cio_buffer.sandbox.effects import Asked, JsonObject

Outcome: TypeAlias = Literal["taken", "duplicate", "refused", "faulted", "lost_answer"]
EVENT_KINDS = frozenset({"event", "page", "screen", "invite_event"})


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """One operation that reached the sandbox; one that is sent twice arrives twice.

    `number` counts arrivals and `request` requests, both from 1; `at` is Unix seconds; `path` is raw, as it was sent.
    `body` is the operation (v2) or the request's body (v1).

    `outcome`: "taken" was processed; "duplicate" is an event whose id was seen before; "refused" was invalid;
    "faulted" met a scripted fault and was not processed; "lost_answer" was processed, but the sender was not told.
    """

    number: int
    request: int
    at: float
    api: Literal["v1", "v2"]
    kind: str
    identifiers: JsonObject
    body: JsonObject
    path: str
    outcome: Outcome

    @property
    def event_id(self) -> str | None:
        """The id by which duplicates of an event are known; None for all that is not an event or has none."""
        value = self.body.get("id") if self.kind in EVENT_KINDS else None
        return value if isinstance(value, str) else None

    @property
    def timestamp(self) -> float | None:
        """The moment the sender gave, in Unix seconds; for a v1 identify that is its `_timestamp`."""
        name = "_timestamp" if self.api == "v1" and self.kind == "identify" else "timestamp"
        value = self.body.get(name)
        return value if isinstance(value, int | float) else None


class RequestRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One request. `status` is None when the connection was dropped; `operations` is how many could be read in it."""

    number: int
    at: float
    method: str
    path: str
    status: int | None
    operations: int
    body_bytes: int


class Ledger:
    """Keeps the newest `limit` arrivals and as many requests; the counts know all of them."""

    def __init__(self, limit: int = 100_000) -> None:
        self.arrivals: deque[Arrival] = deque(maxlen=limit)
        self.requests: deque[RequestRecord] = deque(maxlen=limit)
        self.counts: Counter[Outcome] = Counter()
        self.arrivals_total = 0
        self.requests_total = 0

    def record(
        self,
        operations: Sequence[tuple[Asked, Outcome]],
        *,
        at: float,
        method: str,
        path: str,
        status: int | None,
        body_bytes: int,
    ) -> RequestRecord:
        """Write down a request and the operations in it, in their order."""
        self.requests_total += 1
        request = RequestRecord(
            number=self.requests_total,
            at=at,
            method=method,
            path=path,
            status=status,
            operations=len(operations),
            body_bytes=body_bytes,
        )
        self.requests.append(request)
        for asked, outcome in operations:
            self._record_arrival(asked, outcome, request)
        return request

    def in_effect(self) -> list[Arrival]:
        """The kept arrivals that were processed, whether or not the sender learnt of it."""
        return [arrival for arrival in self.arrivals if arrival.outcome in {"taken", "lost_answer"}]

    def _record_arrival(self, asked: Asked, outcome: Outcome, request: RequestRecord) -> None:
        self.arrivals_total += 1
        self.counts[outcome] += 1
        arrival = Arrival(
            number=self.arrivals_total,
            request=request.number,
            at=request.at,
            api=asked.api,
            kind=asked.kind,
            identifiers=asked.identifiers,
            body=asked.body,
            path=request.path,
            outcome=outcome,
        )
        self.arrivals.append(arrival)
