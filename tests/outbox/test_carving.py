"""Rows out of single pages, as every format wrote them."""

import sqlite3
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cio_buffer.outbox import carving
from cio_buffer.outbox.carving import EVENT_COLUMNS, Row
from cio_buffer.outbox.entry import pack_lanes
from cio_buffer.outbox.pages import PAGE_BYTES, checksum
from cio_buffer.outbox.salvage import remains, rescue
from cio_buffer.outbox.trail import TRAIL_BYTES

CORPUS = Path(__file__).parent / "corpus"
COMMON = [pack_lanes(["id:ann"]), "event", 1_700_000_000_000, "v1", None, None, 0, 0, None, b"{}"]
PAST = [bytes(TRAIL_BYTES), "", None, None]
FATE = [1_700_000_000_001, "refused", "name", "was missing", 422]


def wrong(place: int, value: object) -> list[object]:
    return [*COMMON[:place], value, *COMMON[place + 1 :]]


@pytest.mark.parametrize(
    ("table", "columns"),
    [
        ("event", COMMON),
        ("event", [*COMMON, *PAST]),
        ("event", [*COMMON, None]),  # parked, with no time
        ("event", [*COMMON, 1_700_000_000_000, 2, "expired"]),
        ("event", [*COMMON, None, 0, "", *PAST]),
        ("dead", [*COMMON, *FATE]),
        ("dead", [*COMMON, *FATE, "required"]),
        ("dead", [*COMMON, *FATE, "required", *PAST]),
        ("event", wrong(4, "POST /api/v1/events")),
        ("event", [*wrong(4, "POST /api/v1/events")[:9], b"not JSON: it leaves alone, as it came"]),
    ],
)
def test_what_was_accepted_is_told_by_its_columns(table: str, columns: list[object]) -> None:
    found = carving.entry(Row(7, columns))
    assert found is not None
    assert (found[0], len(found[1])) == (table, len(EVENT_COLUMNS) + (6 if table == "dead" else 0))


@pytest.mark.parametrize(
    "columns",
    [
        wrong(0, b"seven b"),
        wrong(1, "evens"),
        wrong(1, ""),
        wrong(2, -1),
        wrong(2, 2**50),
        wrong(4, "POST"),
        wrong(4, 12),
        wrong(6, None),
        wrong(6, 2**40),
        wrong(8, "origin"),
        wrong(9, b'{"name": '),
        wrong(9, b"[" * 5_000),
        [*COMMON, *FATE[:1], "refused", 3, "", None],
    ],
)
def test_what_makes_no_sense_is_left_out(columns: list[object]) -> None:
    assert carving.entry(Row(7, columns)) is None


@pytest.mark.parametrize("number", [0, -1, carving.SEQ_MAX + 1])
def test_numbers_that_were_never_given_out_are_left_out(number: int) -> None:
    assert carving.entry(Row(number, COMMON)) is None


@pytest.mark.parametrize("past", [[b"short", "", None, None], [bytes(TRAIL_BYTES), "{", None, None], [b"", "", -5, 1]])
def test_a_past_that_cannot_be_read_costs_no_entry(past: list[object]) -> None:
    found = carving.entry(Row(7, [*COMMON, *past]))
    assert found == ("event", (7, *COMMON, b"", "", None, None))


@given(page=st.binary(min_size=64, max_size=512), seed=st.integers(0, 2**32))
@settings(max_examples=300, deadline=None)
def test_no_page_raises(page: bytes, seed: int) -> None:
    content = (bytes([carving.TABLE_LEAF]) + page * (PAGE_BYTES // len(page) + 1))[:PAGE_BYTES]
    for wanted in (carving.may_be_entry, carving.may_be_ledger, lambda _: True):
        for row in carving.rows(content, lambda number: content if (number ^ seed) % 3 else b"", wanted):
            carving.entry(row)
            carving.ledger(row)


VALUES = st.none() | st.integers(-(2**63), 2**63 - 1) | st.binary(max_size=9_000) | st.text()


@given(values=st.lists(VALUES, min_size=1, max_size=30))
@settings(max_examples=60, deadline=None)
def test_a_row_reads_as_sqlite_wrote_it(values: list[object], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever it has, and however many pages it takes."""
    content, root = written(tmp_path_factory.mktemp("rows") / "rows.db", values)
    assert rows_in(content, root) == [Row(-5, values)]


def test_a_row_of_another_size_than_it_says_is_left_out(tmp_path: Path) -> None:
    content, root = written(tmp_path / "rows.db", [b"x" * 40, "text"])
    start = int.from_bytes(content[(root - 1) * PAGE_BYTES + 8 :][:2], "big")
    content[(root - 1) * PAGE_BYTES + start] -= 1
    assert rows_in(content, root) == []


@pytest.mark.parametrize("leads_to", [0, 1, 1_000])
def test_a_row_whose_pages_lead_elsewhere_is_left_out(tmp_path: Path, leads_to: int) -> None:
    """From any of the pages in which it goes on."""
    content, root = written(tmp_path / "rows.db", [b"x" * 12_000])
    assert len(rows_in(content, root)) == 1
    for at in range(root * PAGE_BYTES, len(content), PAGE_BYTES):
        damaged, link = bytearray(content), leads_to.to_bytes(4, "big")
        if damaged[at : at + 4] != link:
            damaged[at : at + 4] = link
            assert rows_in(damaged, root) == []


def written(path: Path, values: list[object]) -> tuple[bytearray, int]:
    """A database with one row, whose id is -5, in one table; and that table's first page."""
    db = sqlite3.connect(path)
    db.execute(f"CREATE TABLE rows (id INTEGER PRIMARY KEY, {', '.join(f'c{n}' for n in range(len(values)))})")
    db.execute(f"INSERT INTO rows VALUES (?{', ?' * len(values)})", (-5, *values))
    db.commit()
    (root,) = db.execute("SELECT rootpage FROM sqlite_schema").fetchone()
    db.close()
    return bytearray(path.read_bytes()), root


def rows_in(content: bytes, root: int) -> list[Row]:
    def page(number: int) -> bytes:
        return bytes(content[(number - 1) * PAGE_BYTES : number * PAGE_BYTES]) if number else b""

    return list(carving.rows(page(root), page, lambda _: True))


def test_a_checksum_is_that_of_the_file_format() -> None:
    first, second = 0xFFFF_FFF0, 0xFFFF_FFFF
    content = bytes(range(256)) * 16 + b"\xff" * 8
    before = first.to_bytes(4, "big") + second.to_bytes(4, "big")
    for at in range(0, len(content), 8):
        first = (first + int.from_bytes(content[at : at + 4], "little") + second) & 0xFFFF_FFFF
        second = (second + int.from_bytes(content[at + 4 : at + 8], "little") + first) & 0xFFFF_FFFF
    assert checksum(before, content, "<") == first.to_bytes(4, "big") + second.to_bytes(4, "big")


@pytest.mark.parametrize("archive", sorted(CORPUS.glob("*.tar.xz")), ids=lambda one: one.name)
def test_stores_of_every_format_are_read(archive: Path, tmp_path: Path) -> None:
    """All that SQLite finds in them, and nothing else."""
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path, filter="data")
    (store,) = tmp_path.rglob("*.db")
    rows = [row for chunk in rescue(store) for row in chunk]
    found, ledger = remains(store), sqlite3.connect(store).execute("SELECT accepted, seq_reserved FROM ledger")
    db = sqlite3.connect(store)
    waiting = "SELECT seq, lanes, kind, body, call FROM event UNION ALL SELECT seq, lanes, kind, body, call FROM parked"
    dead = "SELECT seq, lanes, kind, body, call FROM dead"
    places = [EVENT_COLUMNS.index(name) for name in ("seq", "lanes", "kind", "body", "call")]
    for table, statement in (("event", waiting), ("dead", dead)):
        theirs = sorted(db.execute(statement).fetchall())
        ours = sorted({tuple(row.values[place] for place in places) for row in rows if row.table == table})
        assert ours == theirs
    assert found.counts is not None
    assert (found.counts["accepted"], found.highest_seq) == ledger.fetchone()
    db.close()
