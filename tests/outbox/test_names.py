"""Receipts: read back as they were written, by whoever copies them by hand, and taken for no other's."""

import random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cio_buffer.errors import UnknownReceipt
from cio_buffer.outbox.names import DIGITS, SEQ_MAX, TIME_MAX, Names, Receipt, from_base_32, in_base_32

OURS, THEIRS = Names(bytes(16)), Names(bytes(15) + b"\1")
NOW_MS = 1_700_000_000_123

seqs, times = st.integers(0, SEQ_MAX), st.integers(0, TIME_MAX)
receipts = st.builds(OURS.receipt, seqs, times)


def is_taken(text: str, names: Names = OURS) -> bool:
    try:
        names.read_receipt(text)
    except UnknownReceipt:
        return False
    return True


@given(seqs, times)
def test_a_receipt_says_which_entry_and_when(seq: int, at_ms: int) -> None:
    assert OURS.read_receipt(OURS.receipt(seq, at_ms)) == Receipt(seq, at_ms)


@given(seqs, times, seqs, times)
def test_no_two_entries_share_one(seq: int, at_ms: int, other: int, other_at_ms: int) -> None:
    is_same = (seq, at_ms) == (other, other_at_ms)
    assert (OURS.receipt(seq, at_ms) == OURS.receipt(other, other_at_ms)) == is_same


@given(receipts)
def test_it_is_short_and_of_plain_letters_and_digits(receipt: str) -> None:
    assert set(receipt) <= set(DIGITS)
    assert 13 <= len(receipt) <= 25
    assert len(OURS.receipt(1_000_000, NOW_MS)) == 16


@pytest.mark.parametrize(("at_ms", "read_ms"), [(-1, 0), (-(2**70), 0), (TIME_MAX + 1, TIME_MAX), (2**70, TIME_MAX)])
def test_a_time_out_of_reach_is_the_nearest_one(at_ms: int, read_ms: int) -> None:
    assert OURS.read_receipt(OURS.receipt(5, at_ms)) == Receipt(5, read_ms)


def test_receipts_of_one_store_sort_by_time() -> None:
    written = [OURS.receipt(seq, NOW_MS + 1_000 * seq) for seq in range(100)]
    assert sorted(written) == written


def as_by_hand(receipt: str, chance: random.Random) -> str:
    """As a person might write it: other letters for the same digits, in any case, with space around."""
    alike = {"0": "0Oo", "1": "1IiLl"}
    return " " + "".join(chance.choice(alike.get(digit, digit + digit.lower())) for digit in receipt) + "\n"


@given(seqs, times, st.randoms(use_true_random=False))
def test_it_is_read_as_people_write_it(seq: int, at_ms: int, chance: random.Random) -> None:
    assert OURS.read_receipt(as_by_hand(OURS.receipt(seq, at_ms), chance)) == Receipt(seq, at_ms)


@given(seqs, times)
def test_o_is_0_and_i_and_l_are_1(seq: int, at_ms: int) -> None:
    receipt = OURS.receipt(seq, at_ms)
    for one, zero in (("I", "O"), ("L", "o"), ("i", "O"), ("l", "o")):
        assert OURS.read_receipt(receipt.replace("1", one).replace("0", zero)) == Receipt(seq, at_ms)
    assert OURS.read_receipt(receipt.lower()) == Receipt(seq, at_ms)


def slips(receipt: str) -> set[str]:
    """Every receipt that differs in one character, lacks one, has one more, or has two neighbours exchanged."""
    changed = {receipt[:at] + digit + receipt[at + 1 :] for at in range(len(receipt)) for digit in DIGITS + "U?-"}
    lacking = {receipt[:at] + receipt[at + 1 :] for at in range(len(receipt))}
    more = {receipt[:at] + digit + receipt[at:] for at in range(len(receipt) + 1) for digit in DIGITS}
    turned = {receipt[:at] + receipt[at + 1] + receipt[at] + receipt[at + 2 :] for at in range(len(receipt) - 1)}
    return (changed | lacking | more | turned) - {receipt}


def test_a_slip_in_any_one_character_is_found_nearly_always() -> None:
    """A check of 15 bits misses one in 32,768; a change of the check itself is always found."""
    chance = random.Random(1)
    tried = missed = 0
    for _ in range(100):
        receipt = OURS.receipt(chance.randrange(2 ** chance.randrange(1, 63)), chance.randrange(TIME_MAX))
        wrong = slips(receipt)
        tried, missed = tried + len(wrong), missed + sum(map(is_taken, wrong))
        in_the_check = {one for one in wrong if one[:-3] == receipt[:-3]}
        assert not any(map(is_taken, in_the_check))
    assert tried > 100_000
    assert missed / tried < 1 / 10_000


def test_another_stores_receipt_is_refused() -> None:
    chance = random.Random(2)
    theirs = [THEIRS.receipt(chance.randrange(10**9), NOW_MS + chance.randrange(10**9)) for _ in range(20_000)]
    assert all(is_taken(receipt, THEIRS) for receipt in theirs)
    assert sum(map(is_taken, theirs)) / len(theirs) < 1 / 5_000


@pytest.mark.parametrize("text", ["", " ", "0", "000000000000", "nonsense", "?" * 16, "A" * 1_000_000, "\udcff" * 16])
def test_what_is_no_receipt_is_refused(text: str) -> None:
    with pytest.raises(UnknownReceipt):
        OURS.read_receipt(text)


@given(st.text() | st.text(DIGITS, max_size=40))
def test_any_text_is_refused_or_names_what_a_store_can_hold(text: str) -> None:
    try:
        receipt = OURS.read_receipt(text)
    except UnknownReceipt:
        return
    assert 0 <= receipt.seq <= SEQ_MAX


@given(st.integers(SEQ_MAX + 1, 32**20 - 1), times)
def test_a_number_that_no_store_has_is_refused_though_the_check_be_right(seq: int, at_ms: int) -> None:
    with pytest.raises(UnknownReceipt):
        OURS.read_receipt(OURS.receipt(seq, at_ms))


@given(st.integers(0, 2**80))
def test_base_32_is_read_as_it_is_written_and_as_short_as_can_be(number: int) -> None:
    digits = in_base_32(number)
    assert from_base_32(digits) == number
    assert digits == "0" or not digits.startswith("0")


lanes = st.integers(-(2**63), 2**63 - 1)


@given(lanes, lanes)
def test_a_lane_has_one_name_that_is_not_its_hash(lane: int, other: int) -> None:
    assert (OURS.lane(lane) == OURS.lane(other)) == (lane == other)
    assert len(OURS.lane(lane)) == 10
    assert OURS.lane(lane) != lane.to_bytes(8, "little", signed=True).hex()[:10]


@given(lanes)
def test_a_lane_is_called_otherwise_in_another_store(lane: int) -> None:
    assume(lane)
    assert OURS.lane(lane) != THEIRS.lane(lane)
