"""The pages of a store that is not open, as its file and its WAL hold them, damaged or not.

Read as the SQLite file format has them, without SQLite, which gives up on much of what can still be read, and which
would write. Nothing here writes, and nothing raises for what the files hold.
"""

import os
import struct
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from operator import mul
from pathlib import Path
from typing import NamedTuple

from cio_buffer.outbox.beside import wal_of

PAGE_BYTES = 4096
WAL_HEADER_BYTES, FRAME_HEADER_BYTES = 32, 24
FRAME_BYTES = FRAME_HEADER_BYTES + PAGE_BYTES
FRAMES_MAX = 1_048_576
"""4 GiB: a WAL of ours has a sixteenth of that at most, and what is kept of each takes memory."""

READ_AT_ONCE = 64
"""Frames, when their headers are looked at: one call each would cost more than what is copied in vain."""

FRAME_HEADER = struct.Struct(">II8s8s")  # page, pages in the database after a commit or 0, salts, checksum
WORDS_LITTLE, WORDS_BIG = 0x377F0682, 0x377F0683
NONE = 0xFFFFFFFF
IN_FILE = -1
"""The place of a version that is in no frame: before all of them."""


class Frame(NamedTuple):
    """Where a page stands in the WAL: the first frame is 0."""

    at: int
    page: int


class Pages:
    """Each page's versions, the newest first. To be closed."""

    def __init__(self, db: Path) -> None:
        """Raises OSError where a file that is there cannot be opened."""
        self._file = open_if_there(db)
        self._wal = open_if_there(wal_of(db))
        self.count = (size_of(self._file) + PAGE_BYTES - 1) // PAGE_BYTES
        self._latest: dict[int, int] = {}  # page -> its newest frame
        self._before: array[int] = array("I")  # frame -> the one before it with the same page
        self._ends: array[int] = array("I")  # frames that end a commit
        if self._wal is not None:
            self._index(self._wal)

    def close(self) -> None:
        for fd in (self._file, self._wal):
            if fd is not None:
                os.close(fd)
        self._file = self._wal = None

    def numbers(self) -> Iterator[int]:
        """Those of all pages that are anywhere, ascending."""
        yield from range(1, self.count + 1)
        yield from sorted(number for number in self._latest if number > self.count)

    def newest(self, number: int) -> bytes:
        """A page as it was last committed; b"" if there is none."""
        return next(self.versions(number), b"")

    def versions(self, number: int) -> Iterator[bytes]:
        """The newest first, and the one in the file last. Those that are cut short are filled up with zeros."""
        return (self.at(number, place) for place in self.places(number))

    def places(self, number: int) -> Iterator[int]:
        """Where those stand: frames of the WAL, or IN_FILE."""
        frame = self._latest.get(number, NONE)
        while frame != NONE:
            yield frame
            frame = self._before[frame]
        if 0 < number <= self.count:
            yield IN_FILE

    def at(self, number: int, place: int) -> bytes:
        """The version of a page that stands there."""
        if place == IN_FILE:
            return self._read(self._file, (number - 1) * PAGE_BYTES)
        return self._read(self._wal, WAL_HEADER_BYTES + place * FRAME_BYTES + FRAME_HEADER_BYTES)

    def beside(self, place: int) -> Callable[[int], bytes]:
        """Pages by number, as they were once what stands at `place` was committed; b"" for none.

        What is newer may be given to others by then: a row's beginning would go on with the end of somebody else's.
        """
        last = IN_FILE if place == IN_FILE else self._ends[bisect_left(self._ends, place)]

        def page(number: int) -> bytes:
            return next((self.at(number, one) for one in self.places(number) if one <= last), b"")

        return page

    def is_doubtful(self, number: int) -> bool:
        """Whether its newest version is a frame of the WAL that is not as it was written. 60 µs."""
        frame = self._latest.get(number, NONE)
        if frame == NONE or self._wal is None:
            return False
        start = WAL_HEADER_BYTES + frame * FRAME_BYTES
        before = WAL_HEADER_BYTES - 8 if frame == 0 else start - FRAME_BYTES + 16
        content = pread(self._wal, FRAME_BYTES, start)
        return checksum(pread(self._wal, 8, before), content[:8] + content[24:], self._words) != content[16:24]

    def _read(self, fd: int | None, offset: int) -> bytes:
        return b"" if fd is None else pread(fd, PAGE_BYTES, offset).ljust(PAGE_BYTES, b"\0")

    def _index(self, wal: int) -> None:
        """Note where the frames are that were committed since the WAL was last begun anew: those with its salts.

        A frame that is damaged ends nothing here: SQLite ignores whatever comes after it, and that was acknowledged.
        """
        header = pread(wal, WAL_HEADER_BYTES, 0)
        self._words = ">" if header[:4] == WORDS_BIG.to_bytes(4, "big") else "<"
        salts = current_salts(header[16:24], wal)
        pending: list[Frame] = []
        for at, (page, pages_after, its_salts, _) in enumerate(frame_headers(wal)):
            self._before.append(NONE)
            if its_salts == salts and page:
                pending.append(Frame(at, page))
                if pages_after:
                    self._commit(pending)
                    self._ends.append(at)
                    pending.clear()

    def _commit(self, frames: list[Frame]) -> None:
        for at, page in frames:
            self._before[at] = self._latest.get(page, NONE)
            self._latest[page] = at


def commits(wal: Path) -> list[int]:
    """Places of the frames that end a commit since the WAL was last begun anew, as their headers tell; ascending.

    Of a WAL whose own header makes no sense, by the salts that its frames have.
    """
    fd = open_if_there(wal)
    if fd is None:
        return []
    try:
        header = pread(fd, WAL_HEADER_BYTES, 0)
        salts = header[16:24] if is_whole(header) else current_salts(header[16:24], fd)
        return [at for at, (page, after, its, _) in enumerate(frame_headers(fd)) if page and after and its == salts]
    finally:
        os.close(fd)


def is_whole(header: bytes) -> bool:
    """Whether a WAL's header has the checksum that it tells."""
    if len(header) < WAL_HEADER_BYTES:
        return False
    words = struct.unpack(f"{'>' if header[:4] == WORDS_BIG.to_bytes(4) else '<'}6I", header[:24])
    first = second = 0
    for one, other in zip(words[::2], words[1::2], strict=True):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + other + first) & 0xFFFFFFFF
    return struct.pack(">2I", first, second) == header[24:]


def current_salts(told: bytes, wal: int) -> bytes:
    """Those that the WAL's header tells, unless no frame at its beginning has them: then what most of those have."""
    found = Counter(salts for _, _, salts, _ in islice(frame_headers(wal), 16))
    return told if told in found or not found else found.most_common(1)[0][0]


def frame_headers(wal: int) -> Iterator[tuple[int, int, bytes, bytes]]:
    """Of each frame that is there, whatever it belongs to; the last one may be cut short."""
    for first in range(0, FRAMES_MAX, READ_AT_ONCE):
        block = pread(wal, READ_AT_ONCE * FRAME_BYTES, WAL_HEADER_BYTES + first * FRAME_BYTES)
        for offset in range(0, len(block) - FRAME_HEADER_BYTES + 1, FRAME_BYTES):
            yield FRAME_HEADER.unpack_from(block, offset)
        if len(block) < READ_AT_ONCE * FRAME_BYTES:
            return


CHECKED_BYTES = 8 + PAGE_BYTES
SECOND = 96
"""Both sums are worked out in one number, so far apart that the first does not reach the second."""


def made_weights() -> list[int]:
    """By how much each word counts in the two sums of a checksum: s0 += x0 + s1, s1 += x1 + s0 for each two words."""
    weights = []
    even, odd = (1, 1), (0, 1)  # of the last two words
    for _ in range((8 + CHECKED_BYTES) // 8):
        weights += [odd[0] | odd[1] << SECOND, even[0] | even[1] << SECOND]
        even, odd = before_two_words(even), before_two_words(odd)
    return weights[::-1]


def before_two_words(weights: tuple[int, int]) -> tuple[int, int]:
    first = sum(weights) & 0xFFFFFFFF
    return first, (weights[1] + first) & 0xFFFFFFFF


WEIGHTS = made_weights()


def checksum(before: bytes, content: bytes, words: str) -> bytes:
    """A frame's, which goes on from that of the frame before it; as it is stored. b"" of what is cut short.

    Each sum is linear in the words that go into it, so it is a product with weights that never change: step by step it
    would take ten times as long.
    """
    if len(before) + len(content) != 8 + CHECKED_BYTES:
        return b""
    first, second = struct.unpack(">2I", before)
    values = (first, (second - first) & 0xFFFFFFFF, *struct.unpack(f"{words}{CHECKED_BYTES // 4}I", content))
    sums = sum(map(mul, values, WEIGHTS))
    return struct.pack(">2I", sums & 0xFFFFFFFF, sums >> SECOND & 0xFFFFFFFF)


def open_if_there(path: Path) -> int | None:
    """Raises OSError unless it can be opened, or is not there."""
    with suppress(FileNotFoundError):
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    return None


def size_of(fd: int | None) -> int:
    return 0 if fd is None else os.fstat(fd).st_size


def pread(fd: int, size: int, offset: int) -> bytes:
    """What can be read there: sectors that the disk cannot read are as if they were not there."""
    try:
        return os.pread(fd, size, offset)
    except OSError:
        return b""
