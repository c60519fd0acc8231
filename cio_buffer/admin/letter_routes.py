"""The admin socket's `/dead`: reads dead letters, and changes what becomes of them."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Set

from aiohttp import web
from msgspec import Struct
from structlog.typing import FilteringBoundLogger

from cio_buffer.admin.answers import declined, only, wrong
from cio_buffer.admin.letter_questions import ChangeQuestion, EditQuestion, ReplayQuestion
from cio_buffer.admin.letter_reading import (
    read_body,
    read_list_question,
    read_meaning,
    read_question,
    read_show_question,
    shown,
)
from cio_buffer.admin.letters import Edits, Letter, Letters, Purges, Replays, letter, letter_in_full
from cio_buffer.admin.wrong import Declined, misasked
from cio_buffer.clock import Clock
from cio_buffer.errors import InvalidOperation, OutboxUnavailable, Refused, UnknownReceipt
from cio_buffer.http.answers import in_json
from cio_buffer.http.body import Body
from cio_buffer.outbox import archive
from cio_buffer.outbox.archive import Archive, Dead, Replayed
from cio_buffer.outbox.entry import NewEntry
from cio_buffer.outbox.names import Names, Receipt
from cio_buffer.telemetry import log

ROOT = "/dead"
READ_TOGETHER = 50
"""How many letters are in memory at a time: a body may have 100 KB."""

BODY_MAX_BYTES = 262_144
"""What a change may have to bring: the body of a v1 event has up to 100 KB, and in base64 a third more."""

RECEIPT_HINT = "receipts are listed by: cio-buffer dead list"
GONE_HINT = "it may be delivered, replayed or purged by now: cio-buffer trace tells its story"

Amend = Callable[[Dead, bytes], NewEntry]
Change = Callable[[bytes], Awaitable[Struct]]


class NoSuchLetter(Exception):
    """The operator's: no dead letter has that receipt, if any entry ever had."""


class LetterRoutes:
    """Answers what is below `/dead`. Changes are made one at a time, however many are asked for."""

    def __init__(
        self, letters: Archive, names: Names, amend: Amend, *, clock: Clock, logger: FilteringBoundLogger
    ) -> None:
        """`amend` makes an entry of a letter and its new body, and raises InvalidOperation."""
        self._archive, self._names, self._amend = letters, names, amend
        self._clock, self._logger = clock, logger
        self._one_change = asyncio.Lock()
        self._changes: dict[str, Change] = {"/replay": self._replay, "/purge": self._purge, "/edit": self._edit}

    async def answer(self, request: web.BaseRequest, body: Body) -> web.Response:
        """For a path that is ROOT, or below it."""
        path, _, query = request.raw_path.partition("?")
        below = path.removeprefix(ROOT)
        change = self._changes.get(below)
        if request.method not in (("POST",) if change else ("GET", "HEAD")):
            return only("POST" if change else "GET, HEAD")
        try:
            return in_json(200, await (self._do(change, query, body) if change else self._read(below[1:], query)))
        except Declined as no:
            return declined(no)
        except UnknownReceipt as problem:
            return wrong("invalid_receipt", f"This is no receipt of a dead letter: {problem}", 400, RECEIPT_HINT)
        except NoSuchLetter as missing:
            return wrong("unknown_receipt", f"There is no dead letter {missing}", 404, GONE_HINT)
        except InvalidOperation as problem:
            return wrong("invalid_operation", str(problem), 400, "nothing was changed: mend it, and edit again")
        except Refused as refused:
            return unreadable(refused)
        except OutboxUnavailable:
            return unavailable(is_change=change is not None)

    async def _read(self, receipt: str, query: str) -> Struct:
        return await (self._show(receipt, query) if receipt else self._list(query))

    async def _do(self, change: Change, query: str, body: Body) -> Struct:
        if query:
            raise misasked("invalid_request", "A change is told by its body, not by its address")
        asked = await body.read()
        async with self._one_change:
            return await change(asked)

    async def _list(self, query: str) -> Struct:
        question = read_list_question(query, self._names, now=self._clock.now())
        page: list[Letter] = []
        after, is_more = question.after, True
        while is_more and len(page) < question.limit:
            size = min(READ_TOGETHER, question.limit - len(page))
            found = await self._archive.letters(question.wanted, after=after, limit=size + 1)
            is_more = len(found) > size
            page += [letter(dead, self._names) for dead in found[:size]]
            after = found[:size][-1].seq if found else after
        return Letters(dead=page, next=page[-1].receipt if is_more else None)

    async def _show(self, receipt: str, query: str) -> Struct:
        with_body = read_show_question(query)
        return letter_in_full(await self._one(receipt), self._names, with_body=with_body)

    async def _replay(self, asked: bytes) -> Struct:
        question = read_question(asked, ReplayQuestion)
        wanted, unknown = await self._meant(question)
        is_dry = question.dry_run
        done = await self._archive.replay(wanted, limit=question.limit, after_newer=question.after_newer, is_dry=is_dry)
        if not is_dry:
            self._log_replay(done, after_newer=question.after_newer)
        return Replays(replayed=done.replayed, overtaken=done.overtaken, unknown=unknown, dry_run=is_dry)

    async def _purge(self, asked: bytes) -> Struct:
        question = read_question(asked, ChangeQuestion)
        wanted, unknown = await self._meant(question)
        purged = await self._archive.purge(wanted, limit=question.limit, is_dry=question.dry_run)
        if not question.dry_run:
            self._logger.info(log.DEAD_PURGED, purged=purged)
        return Purges(purged=purged, unknown=unknown, dry_run=question.dry_run)

    async def _edit(self, asked: bytes) -> Struct:
        question = read_question(asked, EditQuestion)
        body, dead = read_body(question), await self._one(question.receipt)
        anew = self._amend(dead, body)
        if not await self._archive.edit(dead.seq, anew):
            raise NoSuchLetter(shown(question.receipt))
        self._logger.info(log.DEAD_EDITED, receipt=self._receipt(dead), kind=anew.kind)
        done = Replayed(0, 0)
        if question.replay:
            done = await self._archive.replay(only_these([dead.seq]), after_newer=question.after_newer)
            self._log_replay(done, after_newer=question.after_newer)
        return Edits(receipt=self._receipt(dead), kind=anew.kind, replayed=done.replayed, overtaken=done.overtaken)

    async def _meant(self, question: ChangeQuestion) -> tuple[archive.Letters, list[str]]:
        """Which letters are meant, and the receipts, as they were written, of which there is none."""
        wanted = read_meaning(question, now=self._clock.now())
        if question.receipts is None:
            return wanted, []
        named = {text: self._names.read_receipt(text) for text in question.receipts}
        there = await self._those_there({receipt.seq for receipt in named.values()})
        unknown = [text for text, receipt in named.items() if receipt not in there]
        return only_these(receipt.seq for receipt in there.intersection(named.values())), unknown

    async def _those_there(self, seqs: Set[int]) -> set[Receipt]:
        there: set[Receipt] = set()
        in_order = sorted(seqs)
        for start in range(0, len(in_order), READ_TOGETHER):
            found = await self._archive.letters(
                only_these(in_order[start : start + READ_TOGETHER]), limit=READ_TOGETHER
            )
            there.update(Receipt(dead.seq, dead.accepted_at_ms) for dead in found)
        return there

    async def _one(self, text: str) -> Dead:
        receipt = self._names.read_receipt(text)
        for dead in await self._archive.letters(only_these([receipt.seq]), limit=1):
            if dead.accepted_at_ms == receipt.accepted_at_ms:
                return dead
        raise NoSuchLetter(shown(text))

    def _receipt(self, dead: Dead) -> str:
        return self._names.receipt(dead.seq, dead.accepted_at_ms)

    def _log_replay(self, done: Replayed, *, after_newer: bool) -> None:
        self._logger.info(log.DEAD_REPLAYED, replayed=done.replayed, overtaken=done.overtaken, after_newer=after_newer)


def only_these(seqs: Iterable[int]) -> archive.Letters:
    return archive.Letters(seqs=frozenset(seqs))


def unreadable(refused: Refused) -> web.Response:
    """The body could not be read, and nobody knows where the next request would begin."""
    response = wrong("unreadable_body", str(refused), refused.status)
    response.force_close()
    return response


def unavailable(*, is_change: bool) -> web.Response:
    detail = "The store cannot be used just now" + (": part of the change may be done" if is_change else "")
    return wrong("store_unavailable", detail, 503, "ask again in a moment", {"Retry-After": "1"})
