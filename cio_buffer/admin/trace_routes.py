"""`GET /trace`: what became of operations, by receipt, by person or by an event's id. Never what is in them."""

import asyncio
from collections.abc import Callable, Sequence
from http import HTTPStatus

from aiohttp import web
from msgspec import structs

from cio_buffer.admin.answers import declined, wrong
from cio_buffer.admin.chronicle import tell, tell_by_receipt
from cio_buffer.admin.story import Story, Traced, moment
from cio_buffer.admin.trace_query import Question, read_question
from cio_buffer.admin.wrong import Declined, misasked
from cio_buffer.clock import Clock
from cio_buffer.delivery.whereabouts import Whereabouts
from cio_buffer.errors import OutboxUnavailable, UnknownReceipt
from cio_buffer.http.answers import in_json
from cio_buffer.outbox.archive import Archive, Found
from cio_buffer.outbox.names import Names, Receipt

RECEIPT_HINT = "a receipt is in the answer to the call, in the header X-Cio-Buffer-Receipt: copy it whole"
TOLD_TOGETHER = 50
"""A story takes 50 µs, and apps wait for their 200 meanwhile."""

LATER = {"Retry-After": "1"}


class TraceRoutes:
    """Tells stories. `whereabouts`: where the drain has the entry of that number, None for what is not in its hand."""

    def __init__(
        self, archive: Archive, names: Names, whereabouts: Callable[[int], Whereabouts | None], clock: Clock
    ) -> None:
        self._archive, self._names = archive, names
        self._whereabouts, self._clock = whereabouts, clock

    async def answer(self, _: web.BaseRequest, query: str) -> web.Response:
        """`query` is raw, what follows the question mark."""
        try:
            return in_json(HTTPStatus.OK, await self._trace(read_question(query)))
        except Declined as no:
            return declined(no)
        except UnknownReceipt as unknown:
            detail = f"No operation of this store has this receipt: {unknown}"
            return wrong("unknown_receipt", detail, HTTPStatus.NOT_FOUND, RECEIPT_HINT)
        except OutboxUnavailable:
            return wrong("store_unavailable", "The store cannot be read just now", 503, "ask again in a moment", LATER)

    async def _trace(self, asked: Question) -> Traced:
        if asked.receipts is not None:
            first, last = map(self._names.read_receipt, asked.receipts)
            return await self._trace_call(first, last, asked.limit)
        if asked.event_id is not None:
            found = await self._archive.trace_event(asked.event_id, limit=asked.limit)
        else:
            found = await self._archive.trace_lane(asked.lanes, limit=asked.limit)
        return self._traced(await self._told(found), found.log_since_ms, is_more=found.is_more)

    async def _trace_call(self, first: Receipt, last: Receipt, limit: int) -> Traced:
        """The operations of one call, which were accepted together: their numbers follow one upon the other."""
        if last.seq < first.seq or last.accepted_at_ms != first.accepted_at_ms:
            raise misasked("invalid_request", "These are not the first and the last receipt of one call", RECEIPT_HINT)
        stories: list[Story] = []
        log_since_ms = None
        for seq in range(first.seq, min(last.seq, first.seq + limit - 1) + 1):
            found = await self._archive.trace(seq)
            stories += await self._told_one(structs.replace(first, seq=seq), found)
            log_since_ms = found.log_since_ms
        return self._traced(stories, log_since_ms, is_more=last.seq - first.seq >= limit)

    async def _told_one(self, receipt: Receipt, found: Found) -> Sequence[Story]:
        """The story of what has this receipt. Raises UnknownReceipt where something else has its number."""
        if not found.known:
            return [tell_by_receipt(receipt, found, names=self._names)]
        stories = await self._told(found)
        if [story.receipt for story in stories] != [self._names.receipt(receipt.seq, receipt.accepted_at_ms)]:
            raise UnknownReceipt("another operation has its number: was the store put back to an older copy?")
        return stories

    async def _told(self, found: Found) -> list[Story]:
        stories: list[Story] = []
        for count, known in enumerate(found.known, 1):
            where, now_ms = self._whereabouts(known.seq), self._now_ms()
            stories.append(tell(known, found, where, names=self._names, now_ms=now_ms))
            if count % TOLD_TOGETHER == 0:
                await asyncio.sleep(0)
        return stories

    def _traced(self, stories: Sequence[Story], log_since_ms: int | None, *, is_more: bool) -> Traced:
        log_since = None if log_since_ms is None else moment(log_since_ms)
        return Traced(stories=stories, is_more=is_more, log_since=log_since, at=moment(self._now_ms()))

    def _now_ms(self) -> int:
        return int(self._clock.now() * 1000)
