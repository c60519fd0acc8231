"""The requests that an entry was in and that did not deliver it, as they are kept with it. Pure.

Kept beside the delivery log, because dead letters outlast it. One attempt a line, as JSON, for whoever opens the file.
"""

from collections.abc import Sequence

import msgspec

from cio_buffer.outbox.entry import Attempt

FIRST_KEPT, LAST_KEPT = 10, 50
"""An entry that is held for its own trouble is tried every five minutes, for as long as it takes."""

ATTEMPT = msgspec.json.Decoder(Attempt)


def read_history(text: str) -> list[Attempt]:
    """Attempts, the oldest first."""
    return [ATTEMPT.decode(line) for line in text.split("\n") if line]  # a message may hold what splitlines splits at


def lengthened(text: str, anew: Sequence[Attempt]) -> str:
    """A history with what is new in it: each request once, and where there are too many, the first and the last."""
    known = read_history(text)
    last = known[-1].request if known else 0
    known += [attempt for attempt in anew if attempt.request > last]
    if len(known) > FIRST_KEPT + LAST_KEPT:
        known = known[:FIRST_KEPT] + known[-LAST_KEPT:]
    return b"\n".join(map(msgspec.json.encode, known)).decode()
