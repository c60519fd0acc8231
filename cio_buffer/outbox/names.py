"""What entries and lanes are called to the outside.

A receipt names an accepted entry: it is given back to the app and taken by `trace`. It carries when the entry was
accepted, its number, and a check by which a slip of the pen is found, and a receipt of another store. It stays the same
for as long as the entry is known, through replays too.
"""

import hashlib
from functools import lru_cache
from zlib import crc32

from msgspec import Struct

from cio_buffer.errors import UnknownReceipt

DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
PAIRS = [high + low for high in DIGITS for low in DIGITS]
VALUES = {digit: value for value, digit in enumerate(DIGITS)} | {"O": 0, "I": 1, "L": 1}
"""Crockford's base 32: no letter that could be read as another, or as a digit."""

TIME_DIGITS, CHECK_DIGITS = 9, 3
TIME_MAX = 32**TIME_DIGITS - 1
RECEIPT_MAX_CHARACTERS = 32
SEQ_MAX = 2**63 - 1
"""The highest number that a store can hold."""


class Receipt(Struct, frozen=True):
    """`seq` is the number under which it was accepted; `accepted_at_ms` is Unix milliseconds."""

    seq: int
    accepted_at_ms: int


class Names:
    """Writes and reads the names of one store."""

    def __init__(self, store_id: bytes) -> None:
        self._store_id = store_id
        self._seed = crc32(store_id)

    def receipt(self, seq: int, accepted_at_ms: int) -> str:
        """The receipt of one entry, by the number under which it was accepted: some 16 letters and digits."""
        head = time_in_base_32(accepted_at_ms) + in_base_32(seq)
        return head + self._check(head)

    def read_receipt(self, text: str) -> Receipt:
        """Capitals or not, and with O for 0. Raises UnknownReceipt for what this store never gave."""
        written = "".join(DIGITS[VALUES[letter]] if letter in VALUES else "?" for letter in text.strip().upper())
        head, check = written[:-CHECK_DIGITS], written[-CHECK_DIGITS:]
        is_whole = TIME_DIGITS < len(head) <= RECEIPT_MAX_CHARACTERS - CHECK_DIGITS and "?" not in written
        seq = from_base_32(head[TIME_DIGITS:]) if is_whole and self._check(head) == check else None
        if seq is None or seq > SEQ_MAX:
            raise UnknownReceipt("it has a slip in it, or another store gave it")
        return Receipt(seq, from_base_32(head[:TIME_DIGITS]))

    def lane(self, lane: int) -> str:
        """A lane to show: 10 letters and digits that are the same each time and lead nobody to the person's name.

        A lane's own hash would: whoever has it can try names until one fits.
        """
        packed = lane.to_bytes(8, "little", signed=True)
        return hashlib.blake2b(packed, digest_size=5, key=self._store_id, person=b"lane").hexdigest()

    def _check(self, head: str) -> str:
        """A checksum that begins with the store's id. It guards against slips, not against people."""
        check = crc32(head.encode(), self._seed)
        return PAIRS[check >> 5 & 1023] + DIGITS[check & 31]


@lru_cache(maxsize=2)
def time_in_base_32(at_ms: int) -> str:
    """Kept: under load a dozen calls are accepted in one millisecond."""
    return in_base_32(min(max(at_ms, 0), TIME_MAX)).rjust(TIME_DIGITS, "0")


def in_base_32(number: int) -> str:
    """As few digits as will do, at least one. Two at a time: each call that is accepted pays for it."""
    digits = ""
    while number >= len(PAIRS):
        number, pair = divmod(number, len(PAIRS))
        digits = PAIRS[pair] + digits
    return (PAIRS[number] if number >= len(DIGITS) else DIGITS[number]) + digits


def from_base_32(digits: str) -> int:
    number = 0
    for digit in digits:
        number = number * 32 + VALUES[digit]
    return number
