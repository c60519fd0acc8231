"""What can be read of a store that was set aside: its ledger at once, its entries and dead letters row by row.

From its pages alone, as its file and its WAL hold them: see `pages.py` and `carving.py`. SQL would be no faster, ends
at the first page that is damaged, and cannot open what has lost its first one. It reads only, and raises for nothing
that the files hold.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Literal, get_type_hints

from msgspec import Struct

from cio_buffer.outbox import carving
from cio_buffer.outbox.carving import DEAD_COLUMNS, EVENT_COLUMNS, Ledger
from cio_buffer.outbox.courtesy import courteous
from cio_buffer.outbox.pages import Pages

__all__ = ["DEAD_COLUMNS", "EVENT_COLUMNS", "Remains", "Rescued", "remains", "rescue"]

COUNTED = tuple(name for name, kind in get_type_hints(Ledger).items() if kind is int)

ROWS_MAX, BYTES_MAX = 500, 1_000_000
"""Of a chunk: it is brought into the new store by one commit."""

PAGES_AT_ONCE = 10
"""Between two rests: 100 rows as a rule, 2 ms."""

FIRST_PAGES = 64
"""The ledger's table was made with the store, among its first, so its one page is one of these."""

VERSIONS_MAX = 10
"""Of each of them, to be looked at: the ledger is in each commit, so the WAL has thousands."""


class Rescued(Struct, frozen=True, gc=False):
    """A row for one of the tables: all of EVENT_COLUMNS or of DEAD_COLUMNS. What was parked is among the events."""

    table: Literal["event", "dead"]
    values: tuple[object, ...]


class Remains(Struct, frozen=True, kw_only=True):
    """What the ledger said: None, b"" and 0 where it cannot be found."""

    counts: dict[str, int] | None
    store_id: bytes
    highest_seq: int


def remains(db: Path) -> Remains:
    """The newest ledger of the store of which `db` is left, or its WAL. 0.1 s at most, whatever the size."""
    try:
        pages = Pages(db)
    except OSError:
        return Remains(counts=None, store_id=b"", highest_seq=0)
    try:
        return next(ledgers(pages), Remains(counts=None, store_id=b"", highest_seq=0))
    finally:
        pages.close()


def ledgers(pages: Pages) -> Iterator[Remains]:
    """Each that makes sense, the newest first."""
    numbers = range(1, FIRST_PAGES + 1)
    newest = ((number, place) for number in numbers for place in islice(pages.places(number), 1))
    older = ((number, place) for number in numbers for place in islice(pages.places(number), 1, VERSIONS_MAX))
    for number, place in chain(newest, older):
        for row in carving.rows(pages.at(number, place), pages.beside(place), carving.may_be_ledger):
            if (found := carving.ledger(row)) is not None:
                counts = {name: getattr(found, name) for name in COUNTED}
                yield Remains(counts=counts, store_id=found.store_id, highest_seq=found.seq_reserved)


def rescue(db: Path, *, seq_max: int = carving.SEQ_MAX) -> Iterator[Sequence[Rescued]]:
    """All that waited or was dead and can be read, in chunks: in no order, and perhaps twice.

    Where it is found in more than one state, the newest comes first. `seq_max`: a number above it was never given out.
    """
    try:
        pages = Pages(db)
    except OSError:
        return
    try:
        yield from in_chunks(row for row in rescued(pages) if row.values[0] <= seq_max)  # type: ignore[operator]
    finally:
        pages.close()


def rescued(pages: Pages) -> Iterator[Rescued]:
    """What the newest pages hold; then what stood where those are doubtful."""
    doubtful = []
    for number in courteous(pages.numbers(), PAGES_AT_ONCE):
        for place in islice(pages.places(number), 1):
            yield from rows_of(pages, number, place)
        if pages.is_doubtful(number):
            doubtful.append(number)
    for number in courteous(doubtful, PAGES_AT_ONCE):
        for place in islice(pages.places(number), 1, None):
            yield from rows_of(pages, number, place)


def rows_of(pages: Pages, number: int, place: int) -> Iterator[Rescued]:
    for row in carving.rows(pages.at(number, place), pages.beside(place), carving.may_be_entry):
        if (found := carving.entry(row)) is not None:
            yield Rescued(*found)


def in_chunks(rows: Iterable[Rescued]) -> Iterator[Sequence[Rescued]]:
    chunk: list[Rescued] = []
    size = 0
    for row in rows:
        chunk.append(row)
        size += len(row.values[BODY])  # type: ignore[arg-type]
        if len(chunk) == ROWS_MAX or size >= BYTES_MAX:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


BODY = EVENT_COLUMNS.index("body")
