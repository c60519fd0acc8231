"""What apps send, in a real store: found again by its receipt and by its id, as a letter and with another body too."""

import json

import pytest

from cio_buffer.ingest.amend import amended
from cio_buffer.ingest.intake import Intake
from cio_buffer.ingest.track_v1 import Mapping, V1Call, find_call
from cio_buffer.ingest.track_v2 import read_batch, read_entity
from cio_buffer.outbox.archive import Letters
from cio_buffer.outbox.entry import AppCall, DeadLetter, Settled, hash_lane
from cio_buffer.outbox.sqlite import SqliteOutbox
from tests.outbox.backends import PLENTY
from tests.support.clock import FakeClock

from .rooms import STAMP

NOW_MS = STAMP * 1000 + 500
BOUGHT = {"type": "person", "identifiers": {"id": "5"}, "action": "event", "name": "bought"}
EVENTS_OF_5 = "/api/v1/customers/5/events"


def new_id(now):
    return f"new at {now}"


@pytest.fixture
def clock():
    return FakeClock(STAMP + 0.5)


@pytest.fixture
async def outbox(tmp_path, clock):
    outbox = SqliteOutbox(tmp_path / "outbox.db", clock=clock, bytes_max=2**30, disk_free_min_bytes=0)
    await outbox.open()
    yield outbox
    await outbox.close()


@pytest.fixture
def intake(outbox, clock):
    return Intake(outbox, clock=clock, new_id=new_id)


async def store(intake, *entries):
    return await intake.store(entries, AppCall(fingerprint=bytes(8), at_s=STAMP))


def event_of_5(intake, body):
    found, named = find_call("POST", EVENTS_OF_5)
    acceptance = intake.acceptance("v1", None)
    call = V1Call(method="POST", path=EVENTS_OF_5, named=named, body=body, mapping=Mapping(), acceptance=acceptance)
    return found.make(call)[0]


async def let_die(outbox):
    """Give up all that waits."""
    lease = await outbox.acquire(now_ms=NOW_MS, wait_max_ms=1_000)
    claim = await lease.claim(PLENTY, now_ms=NOW_MS)
    why = DeadLetter(reason="refused", status=400)
    await lease.settle([Settled(met.entry, why, 1) for met in claim.main], now_ms=NOW_MS)


async def test_receipts_lead_to_the_entries_of_a_call(intake, outbox):
    batch = json.dumps({"batch": [BOUGHT, BOUGHT | {"id": "mine"}, BOUGHT]}).encode()
    one = await store(intake, read_entity(json.dumps(BOUGHT).encode(), intake.acceptance("v2 entity", None)))
    three = await store(intake, *read_batch(batch, intake.acceptance("v2 batch", None)).entries)
    first, last = map(outbox.names.read_receipt, three.split(".."))
    alone = outbox.names.read_receipt(one)
    assert [alone.seq + 1, first.seq + 2] == [first.seq, last.seq]
    for seq in range(first.seq, last.seq + 1):
        (known,) = (await outbox.archive.trace(seq)).known
        assert (known.kind, known.route, known.accepted_at_ms) == ("event", "v2 batch", first.accepted_at_ms)
    assert first.accepted_at_ms == NOW_MS
    ((found,), (stamped, *_)) = [
        (await outbox.archive.trace_event(event_id, limit=9)).known for event_id in ("mine", f"new at {STAMP + 0.5}")
    ]
    assert (found.seq, stamped.seq) == (first.seq + 1, alone.seq)


async def test_an_event_with_a_number_for_an_id_is_found_by_its_digits(intake, outbox):
    receipt = await store(intake, event_of_5(intake, b'{"name":"bought","id":17}'))
    await let_die(outbox)
    (known,) = (await outbox.archive.trace_event("17", limit=9)).known
    assert known.seq == outbox.names.read_receipt(receipt).seq
    assert known.place == "dead"


async def test_a_letter_that_is_edited_is_found_by_what_it_was_and_by_what_it_is(intake, outbox):
    receipt = await store(intake, event_of_5(intake, b'{"name":"bought","id":17,"more":1}'))
    await let_die(outbox)
    (letter,) = await outbox.archive.letters()
    body = b'{"name":"sold","id":"17"}'
    assert await outbox.archive.edit(letter.seq, amended(letter, body, Mapping(), new_id))
    (edited,) = await outbox.archive.letters()
    stamps = {"id": "17", "timestamp": STAMP}
    assert (json.loads(edited.body), edited.call) == (BOUGHT | {"name": "sold"} | stamps, None)
    kept = (letter.seq, letter.accepted_at_ms, letter.route)
    assert (edited.seq, edited.accepted_at_ms, edited.route) == kept
    assert outbox.names.receipt(edited.seq, edited.accepted_at_ms) == receipt
    for found in (
        await outbox.archive.trace_event("17", limit=9),
        await outbox.archive.trace_lane([int.from_bytes(hash_lane("id:5"), "little", signed=True)], limit=9),
    ):
        assert [known.seq for known in found.known] == [letter.seq]
    assert (await outbox.archive.replay(Letters(seqs=frozenset([letter.seq])))).replayed == 1
