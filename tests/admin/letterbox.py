"""Dead letters in memory, and the desk that answers for them: an archive that does what a test says."""

import asyncio
from collections.abc import Iterator, MutableMapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import structlog
from msgspec import structs
from structlog.testing import LogCapture

from cio_buffer.admin.letter_routes import LetterRoutes
from cio_buffer.admin.routes import AdminRoutes
from cio_buffer.admin.set_aside_routes import SetAsideRoutes
from cio_buffer.errors import InvalidOperation, OutboxUnavailable, Problem
from cio_buffer.http.answers import in_json
from cio_buffer.outbox.archive import EVERY_LETTER, Dead, Letters, Replayed
from cio_buffer.outbox.contract import SetAside
from cio_buffer.outbox.entry import Attempt, Fate, NewEntry, pack_lanes, unpack_lanes
from cio_buffer.outbox.names import Names
from cio_buffer.server import Server
from tests.support.clock import FakeClock

ACCEPTED_AT_MS, DIED_AT_MS = 1_700_000_000_123, 1_700_000_060_000
BODY = b'{"type":"person","action":"event","name":"did","identifiers":{"id":"5"}}'
NAMES = Names(b"a store of the tests")


def dead(seq: int, **fields: Any) -> Dead:
    """A dead letter, accepted a second after the one before it."""
    given: dict[str, Any] = {
        "kind": "event",
        "accepted_at_ms": ACCEPTED_AT_MS + 1000 * seq,
        "route": "v2 batch",
        "traceparent": None,
        "died_at_ms": DIED_AT_MS + 1000 * seq,
        "reason": "refused",
        "vendor_reason": "required",
        "field": "name",
        "message": "must not be blank",
        "status": 400,
        "attempts": 2,
        "replays": 0,
        "call": None,
        "history": (lost(7), refused(9)),
        "body": BODY,
    }
    return Dead(seq=seq, **given | fields)


def lost(request: int) -> Attempt:
    """A request whose answer was lost."""
    fate = Fate(what="held", reason="timeout", is_ambiguous=True, until_ms=ACCEPTED_AT_MS + 40_000)
    return Attempt(request=request, sent_at_ms=ACCEPTED_AT_MS + 5, took_ms=30_000, fate=fate, trouble="timeout")


def refused(request: int) -> Attempt:
    """The one that it died of."""
    fate = Fate(what="dead", reason="refused", vendor_reason="required", field="name", message="must not be blank")
    return Attempt(request=request, sent_at_ms=DIED_AT_MS - 152, took_ms=152, fate=fate, status=400)


def receipt(seq: int) -> str:
    """Of `dead(seq)`."""
    return NAMES.receipt(seq, ACCEPTED_AT_MS + 1000 * seq)


class FakeArchive:
    """Its letters, their people, and what newer operations have overtaken are set by the test."""

    def __init__(self, *letters: Dead) -> None:
        self.dead = {letter.seq: letter for letter in letters}
        self.people: dict[int, str] = {}
        self.overtaken: set[int] = set()
        self.is_usable = True
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()
        self.under_way = self.most_under_way = self.asked = 0

    async def letters(self, wanted: Letters = EVERY_LETTER, *, after: int = 0, limit: int = 100) -> Sequence[Dead]:
        self._look()
        return [self.dead[seq] for seq in self._found(wanted) if seq > after][:limit]

    async def replay(
        self, wanted: Letters, *, limit: int | None = None, after_newer: bool = False, is_dry: bool = False
    ) -> Replayed:
        await self._work()
        found = list(self._found(wanted))[:limit]
        stay = set() if after_newer else self.overtaken.intersection(found)
        self._remove([seq for seq in found if seq not in stay and not is_dry])
        return Replayed(len(found) - len(stay), len(stay))

    async def purge(self, wanted: Letters, *, limit: int | None = None, is_dry: bool = False) -> int:
        await self._work()
        found = list(self._found(wanted))[:limit]
        self._remove([] if is_dry else found)
        return len(found)

    async def edit(self, seq: int, anew: NewEntry) -> bool:
        await self._work()
        if seq in self.dead:
            self.dead[seq] = structs.replace(self.dead[seq], body=anew.body, kind=anew.kind)
        return seq in self.dead

    def _found(self, wanted: Letters) -> Iterator[int]:
        for seq, letter in sorted(self.dead.items()):
            (lane,) = unpack_lanes(pack_lanes([self.people.get(seq, "id:5")]))
            if (
                (wanted.seqs is None or seq in wanted.seqs)
                and wanted.reason in (None, letter.reason)
                and wanted.kind in (None, letter.kind)
                and wanted.lane in (None, lane)
                and (wanted.since_ms is None or letter.died_at_ms >= wanted.since_ms)
            ):
                yield seq

    def _remove(self, seqs: Sequence[int]) -> None:
        for seq in seqs:
            del self.dead[seq]

    def _look(self) -> None:
        self.asked += 1
        if not self.is_usable:
            raise OutboxUnavailable("it is closing")

    async def _work(self) -> None:
        self._look()
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        await self.may_go_on.wait()
        self.under_way -= 1


class FakeQuarantine:
    """Of an outbox: the stores that were set aside, and how removing one goes, are set by the test."""

    def __init__(self) -> None:
        self.there: list[SetAside] = []
        self.is_deletable = self.may_vanish = True

    def set_aside(self) -> Sequence[SetAside]:
        return list(self.there)

    async def remove_set_aside(self, name: str) -> bool:
        if not self.is_deletable:
            raise OutboxUnavailable("it cannot be deleted (Permission denied)")
        if not self.may_vanish:
            return False
        self.there = [one for one in self.there if one.name != name]
        return True


def amend(letter: Dead, body: bytes) -> NewEntry:
    """Takes whatever begins as an object does."""
    if not body.startswith(b"{"):
        raise InvalidOperation(Problem(reason="invalid", field="name", message="must not be blank"))
    return NewEntry(kind="page", lanes=b"", body=body, accepted_at_ms=letter.accepted_at_ms)


class Desk:
    """The admin socket of a daemon that has an archive and nothing else."""

    def __init__(self, *letters: Dead) -> None:
        self.archive = FakeArchive(*letters)
        self.quarantine = FakeQuarantine()
        self.clock = FakeClock()
        said = LogCapture()
        self.said: list[MutableMapping[str, Any]] = said.entries
        logger = structlog.wrap_logger(structlog.PrintLogger(), processors=[said])
        self.letters = LetterRoutes(self.archive, NAMES, amend, clock=self.clock, logger=logger)  # type: ignore[arg-type]
        routes = AdminRoutes(
            SimpleNamespace(reasons=list),  # type: ignore[arg-type]
            dict,
            letters=self.letters,
            traces=SimpleNamespace(answer=self._trace),
            set_aside=SetAsideRoutes(self.quarantine),  # type: ignore[arg-type]
        )
        self._server = Server(routes.answer, body_max_bytes=262_144, connections_max=32)

    async def open(self, path: Path) -> None:
        await self._server.listen_unix(path, mode=0o600)

    async def close(self) -> None:
        self.archive.may_go_on.set()
        await self._server.close(0.02)

    async def _trace(self, _: object, query: str) -> object:
        return in_json(200, {"asked": query})
