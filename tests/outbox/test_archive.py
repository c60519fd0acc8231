"""What the SQLite archive does that the contract leaves open: pages, commits, and who comes in between."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from cio_buffer.errors import OutboxUnavailable
from cio_buffer.outbox import letters, log, sqlite_archive
from cio_buffer.outbox.archive import EVERY_LETTER, Letters, Replayed
from cio_buffer.outbox.contract import Ledger
from cio_buffer.outbox.entry import Delivered, NewEntry, pack_lanes
from cio_buffer.outbox.letters import Leftover
from cio_buffer.outbox.overtaken import overtaken
from cio_buffer.outbox.sqlite import SqliteOutbox
from tests.outbox.backends import FOREVER, NOW_MS, REFUSED, Hand, SqliteBackend, hashed, operation, these
from tests.outbox.disk import Disk
from tests.outbox.requests import AGAIN
from tests.support.clock import FakeClock


@pytest.fixture
async def hand(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Hand]:
    hand = await Hand(SqliteBackend(tmp_path, clock), clock).open()
    yield hand
    audit = await hand.outbox.audit()
    await hand.backend.close()
    assert audit.is_balanced
    assert audit.measured == audit.sizes == hand.outbox.sizes()


def archive_of(hand: Hand) -> Any:
    """With what is its own affair."""
    return hand.outbox.archive


def after_look(hand: Hand, function: Callable[..., Any], do: Callable[[], Awaitable[Any]]) -> None:
    """Have `do` done once after the archive has looked by `function`, and before it acts."""
    look, waiting = archive_of(hand)._look, [do]

    async def look_then_do(asked: Any) -> Any:
        answer = await look(asked)
        if asked.func is function and waiting:
            await waiting.pop()()
        return answer

    archive_of(hand)._look = look_then_do


# Who comes in between


@pytest.mark.parametrize(
    ("kind", "newer", "is_overtaken"),
    [
        ("identify", operation("newer", "ann", "x"), True),
        ("identify", operation("newer", "ann", kind="event"), True),
        ("identify", operation("newer", "bob"), False),
        ("identify", operation("nobody's"), False),
        ("event", operation("newer", "ann"), False),
    ],
)
async def test_what_is_accepted_between_the_look_and_the_replay_overtakes(
    hand: Hand, kind: str, newer: NewEntry, is_overtaken: bool
) -> None:
    await hand.bury(operation("a", "ann", kind=kind))
    after_look(hand, overtaken, lambda: hand.append(newer))
    done = await hand.outbox.archive.replay(EVERY_LETTER)
    assert done == (Replayed(0, 1) if is_overtaken else Replayed(1, 0))
    assert await hand.letters() == (["a"] if is_overtaken else [])


async def test_so_it_does_though_it_was_delivered_since(hand: Hand) -> None:
    await hand.bury(operation("a", "ann"))
    after_look(hand, overtaken, lambda: hand.deliver(operation("newer", "ann")))
    assert await hand.outbox.archive.replay(EVERY_LETTER) == Replayed(0, 1)


async def test_what_comes_in_is_noted_for_as_long_as_a_replay_takes(hand: Hand) -> None:
    await hand.bury(operation("a", "ann"), operation("b", "bob"))
    store = archive_of(hand)._store
    noted: list[set[int] | None] = []

    async def look_at_notes() -> None:
        await hand.append(operation("x", "x"))
        noted.append(store.newcomers and set(store.newcomers))

    after_look(hand, overtaken, look_at_notes)
    await hand.outbox.archive.replay(EVERY_LETTER, limit=1)
    await hand.append()  # comes after what was asked for before
    noted.append(store.newcomers)
    after_look(hand, letters.page, look_at_notes)
    await hand.outbox.archive.replay(EVERY_LETTER, after_newer=True)
    assert noted == [set(hashed("x")), None, None]


async def test_a_replay_that_fails_leaves_nothing_behind(hand: Hand) -> None:
    await hand.bury(operation("a", "ann"))

    async def fail() -> None:
        raise OutboxUnavailable("just now")

    after_look(hand, overtaken, fail)
    with pytest.raises(OutboxUnavailable):
        await hand.outbox.archive.replay(EVERY_LETTER)
    await hand.append()  # comes after what was asked for before
    assert archive_of(hand)._store.newcomers is None
    assert await hand.outbox.archive.replay(EVERY_LETTER) == Replayed(1, 0)


@pytest.mark.parametrize("how", ["replay", "purge"])
async def test_what_is_gone_by_then_is_not_counted(hand: Hand, how: str) -> None:
    """Its quota threw it away."""
    await hand.bury(operation("a", "ann"))
    hand.clock.advance(10)
    await hand.bury(operation("b", "bob"))
    after_look(hand, letters.page, lambda: hand.tidy(dead_for_s=5))
    if how == "replay":
        assert (await hand.outbox.archive.replay(EVERY_LETTER)).replayed == 1
        assert hand.outbox.ledger() == Ledger(accepted=2, dead_lettered=2, dead_evicted=1, replayed=1)
    else:
        assert await hand.outbox.archive.purge(EVERY_LETTER) == 1
        assert hand.outbox.ledger() == Ledger(accepted=2, dead_lettered=2, dead_evicted=1, dead_purged=1)


async def test_what_dies_meanwhile_stays(hand: Hand) -> None:
    await hand.append(operation("a", "ann"), operation("b", "bob"))
    await hand.take()
    await hand.request({"b": REFUSED})
    after_look(hand, overtaken, lambda: hand.request({"a": REFUSED}))
    assert await hand.outbox.archive.replay(EVERY_LETTER) == Replayed(1, 0)
    assert await hand.letters() == ["a"]


# Pages and commits


@pytest.fixture(params=[(20_000, 50), (3, 2), (1, 1), (4, 9)])
def pages(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many are looked at, or changed, together."""
    page, together = request.param
    monkeypatch.setattr(sqlite_archive, "PAGE", page)
    monkeypatch.setattr(sqlite_archive, "CHANGED_TOGETHER", together)


@pytest.mark.usefixtures("pages")
@pytest.mark.parametrize(("limit", "done"), [(None, (8, 2)), (0, (0, 0)), (4, (3, 1)), (7, (6, 1)), (11, (8, 2))])
async def test_a_replay_of_many_is_one_of_all_of_them(hand: Hand, limit: int | None, done: tuple[int, int]) -> None:
    names = [f"{n}" for n in range(10)]
    seqs = await hand.bury(*(operation(name, f"lane {int(name) % 5}", f"own {name}") for name in names))
    await hand.deliver(operation("newer", "own 2", "own 7"))
    assert await hand.outbox.archive.replay(these(*seqs), limit=limit, is_dry=True) == Replayed(*done)
    assert await hand.outbox.archive.replay(these(*seqs), limit=limit) == Replayed(*done)
    left = [name for name in names[:limit] if name in "27"] + (names[limit:] if limit is not None else [])
    assert await hand.letters() == left
    assert await hand.main() == [name for name in names if name not in left]


@pytest.mark.usefixtures("pages")
@pytest.mark.parametrize("limit", [None, 0, 3, 5, 99])
async def test_so_is_a_purge(hand: Hand, limit: int | None) -> None:
    names = [f"{n}" for n in range(10)]
    await hand.bury(*(operation(name, name, kind="event" if int(name) % 2 else "page") for name in names))
    count = min(5 if limit is None else limit, 5)
    assert await hand.outbox.archive.purge(Letters(kind="event"), limit=limit) == count
    assert await hand.letters() == [name for name in names if name not in names[1 : 2 * count : 2]]


@pytest.mark.usefixtures("pages")
async def test_in_any_pieces_what_was_accepted_meanwhile_overtakes_the_rest(hand: Hand) -> None:
    seqs = await hand.bury(*(operation(f"{n}", "ann") for n in range(6)))
    after_look(hand, overtaken, lambda: hand.append(operation("newer", "ann")))
    assert await hand.outbox.archive.replay(these(*seqs)) == Replayed(0, 6)


async def test_tidying_where_nothing_is_to_be_done_writes_nothing(tmp_path: Path, clock: FakeClock) -> None:
    disk = Disk()
    outbox = SqliteOutbox(
        tmp_path / "outbox.db", clock=clock, bytes_max=2**30, disk_free_min_bytes=0, connect=disk.connect
    )
    await outbox.open()
    await outbox.acquire(now_ms=NOW_MS, wait_max_ms=1)
    before = disk.commits
    for _ in range(3):
        await outbox.archive.tidy(FOREVER, now_ms=NOW_MS + 1_000)
        await outbox.archive.letters()
        await outbox.archive.trace(1)
        await outbox.archive.purge(EVERY_LETTER, is_dry=True)
    assert disk.commits == before
    await outbox.close()


def leftover(seq: int, lanes: int = 0, size: int = 0) -> Leftover:
    packed = pack_lanes(f"{n}" for n in range(lanes))
    return Leftover(
        seq, lanes=packed, trail=b"", kind="event", accepted_at_ms=0, passable_since_ms=0, died_at_ms=0, bytes=size
    )


@pytest.mark.parametrize(
    ("lanes", "lines"),
    [
        ([], []),
        ([1, 0, 2], [[0, 1, 2]]),
        ([254, 254], [[0, 1]]),
        ([255], [[0]]),
        ([255, 255], [[0], [1]]),
        ([1, 1_000, 1, 1, 255], [[0], [1], [2, 3], [4]]),
        ([256, 1], [[0], [1]]),
    ],
)
def test_who_touches_more_lanes_than_can_be_counted_has_a_line_of_its_own(lanes: list[int], lines: list[int]) -> None:
    found = [leftover(seq, count) for seq, count in enumerate(lanes)]
    assert [[one.seq for one in some] for some in log.in_lines(found)] == lines


@pytest.mark.parametrize(
    ("sizes", "together"),
    [
        ([], []),
        ([10] * 5, [3, 2]),
        ([90, 20, 90], [1, 1, 1]),
        ([50, 50, 1], [2, 1]),
        ([1_000, 1, 1_000], [1, 1, 1]),
        ([1, 1, 1, 1_000], [3, 1]),
    ],
)
def test_long_letters_share_their_commit_with_few(
    sizes: list[int], together: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_archive, "CHANGED_TOGETHER", 3)
    monkeypatch.setattr(sqlite_archive, "CHANGED_BYTES", 100)
    chunks = list(sqlite_archive.light_chunks([leftover(seq, size=size) for seq, size in enumerate(sizes)]))
    assert [seq for chunk in chunks for seq in chunk] == list(range(len(sizes)))
    assert list(map(len, chunks)) == together


@pytest.mark.parametrize(("lines", "bytes_max", "steps"), [(64, 2**20, 3), (4, 2**20, 38), (1_000, 25, 150)])
async def test_a_long_log_is_shortened_step_by_step(
    hand: Hand, lines: int, bytes_max: int, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that nobody who appends waits for it."""
    monkeypatch.setattr(sqlite_archive, "PRUNED_TOGETHER", lines)
    monkeypatch.setattr(sqlite_archive, "PRUNED_BYTES", bytes_max)
    await hand.append(operation("a", "ann"))
    await hand.take()
    for _ in range(150):
        await hand.request({"a": AGAIN})
    hand.clock.advance(100)
    keeping = structs.replace(FOREVER, log_for_s=50)
    done = [await hand.outbox.archive.tidy(keeping, now_ms=NOW_MS + 100_000) for _ in range(steps + 1)]
    assert [step.is_done for step in done] == [False] * steps + [True]
    assert (sum(step.requests for step in done), hand.outbox.sizes().log_lines) == (151, 0)


# Without a log


async def test_without_a_log_nothing_is_remembered_of_what_is_gone(tmp_path: Path, clock: FakeClock) -> None:
    hand = await Hand(SqliteBackend(tmp_path, clock, keeps_log=False), clock).open()
    gone, dead, event = await hand.append(
        operation("a", "ann"), operation("b", "bob"), operation("c", "cat", kind="event")
    )
    await hand.take()
    await hand.request({"a": AGAIN})
    await hand.request({"a": Delivered(), "b": REFUSED, "c": REFUSED})
    assert hand.outbox.sizes().log_lines == 0
    found = await hand.outbox.archive.trace(gone)
    assert (list(found.known), found.log_since_ms) == ([], None)
    known = await hand.known(dead)
    assert (known.place, [one.request for one in known.history], list(known.happenings)) == ("dead", [2], [])
    assert await hand.outbox.archive.replay(EVERY_LETTER) == Replayed(1, 1)
    await hand.reopen()
    assert hand.lease.first_request == 3  # else the history would have two of a number
    assert (await hand.known(event)).replays == 1
    assert (await hand.outbox.audit()).is_balanced
    await hand.backend.close()


@pytest.mark.parametrize("is_tidied", [True, False])
async def test_a_log_that_was_not_kept_for_a_while_does_not_reach_back_over_it(
    tmp_path: Path, clock: FakeClock, is_tidied: bool
) -> None:
    """Whether or not what it held was thrown away meanwhile."""
    backend = SqliteBackend(tmp_path, clock)
    hand = await Hand(backend, clock).open()
    await hand.bury(operation("a", "ann"))
    backend.keeps_log = False
    clock.advance(1)
    await hand.reopen()
    await hand.deliver(operation("newer", "ann"))
    assert (await hand.outbox.archive.trace(1)).log_since_ms is None
    if is_tidied:
        await hand.tidy(log_for_s=0)
    backend.keeps_log = True
    clock.advance(1)
    await hand.reopen()
    await hand.reopen()
    assert (await hand.outbox.archive.trace(1)).log_since_ms == NOW_MS + 2_000
    assert await hand.outbox.archive.replay(EVERY_LETTER) == Replayed(0, 1)
    await hand.backend.close()


# Where it cannot be read


async def test_a_store_that_cannot_be_read_is_said_not_to_be(hand: Hand, tmp_path: Path) -> None:
    path = archive_of(hand)._store.path
    path.rename(tmp_path / "away")
    archive = hand.outbox.archive
    asked: list[Awaitable[Any]] = [
        archive.letters(),
        archive.count_letters(),
        archive.reasons(),
        archive.replay(EVERY_LETTER),
        archive.purge(EVERY_LETTER),
        archive.trace(1),
        archive.trace_lane([1], limit=1),
        archive.trace_event("x", limit=1),
        archive.tidy(FOREVER, now_ms=NOW_MS),
        archive.forget([1]),
    ]
    for one in asked:
        with pytest.raises(OutboxUnavailable):
            await one
    (tmp_path / "away").rename(path)


async def test_a_store_that_is_closed_changes_nothing(tmp_path: Path, clock: FakeClock) -> None:
    hand = await Hand(SqliteBackend(tmp_path, clock), clock).open()
    (seq,) = await hand.bury(operation("a", "ann"))
    await hand.backend.close()
    archive = hand.outbox.archive
    asked: list[Awaitable[Any]] = [
        archive.replay(EVERY_LETTER),
        archive.purge(EVERY_LETTER),
        archive.edit(seq, operation("b", "bob")),
        archive.forget(hashed("ann")),
    ]
    for one in asked:
        with pytest.raises(OutboxUnavailable):
            await one
