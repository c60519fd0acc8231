"""Entries → the outbox, at one moment for all that a call brings."""

from collections.abc import Callable, Sequence

from cio_buffer.clock import Clock
from cio_buffer.ingest.track_v2 import Acceptance
from cio_buffer.outbox.contract import Outbox
from cio_buffer.outbox.entry import AppCall, NewEntry


class Intake:
    """Stamps what comes in, and returns once it would survive a power cut."""

    def __init__(self, outbox: Outbox, *, clock: Clock, new_id: Callable[[float], str]) -> None:
        """`new_id` makes an event's id (a ULID) for a moment in Unix seconds."""
        self._outbox = outbox
        self._clock = clock
        self._new_id = new_id

    def acceptance(self, route: str, traceparent: str | None) -> Acceptance:
        """The present moment, as what is accepted in it will remember it."""
        now = self._clock.now()
        return Acceptance(int(now * 1000), lambda: self._new_id(now), route, traceparent)

    async def store(self, entries: Sequence[NewEntry], call: AppCall) -> str:
        """Store what `call` brought, all of it accepted at one moment; returns its receipt.

        That of several entries is "FIRST..LAST": theirs are consecutive.
        Raises OutboxFull (nothing stored) or OutboxUnavailable (perhaps stored).
        """
        seqs = await self._outbox.append(entries, call)
        receipt, at_ms = self._outbox.names.receipt, entries[0].accepted_at_ms
        first = receipt(seqs[0], at_ms)
        return first if len(seqs) == 1 else f"{first}..{receipt(seqs[-1], at_ms)}"
