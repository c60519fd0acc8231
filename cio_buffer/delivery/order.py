"""Whether what really left kept the order of each lane."""

from collections.abc import Iterable

from cio_buffer.outbox.entry import Entry


class OrderWatch:
    """Counts disorder from what was really sent and taken in: it knows nothing of the window's rules. Stays 0.

    Remembers the latest of each lane that was taken in, for so many lanes.
    """

    def __init__(self, lanes_max: int = 200_000) -> None:
        self._lanes_max = lanes_max
        self._latest: dict[int, int] = {}
        self.violations = 0

    def sent(self, entries: Iterable[Entry]) -> None:
        """These leave: none of them may be older than what its lanes have delivered, or have before it in here."""
        latest = self._latest.get
        here: dict[int, int] = {}
        for entry in entries:
            seq = entry.seq
            for lane in entry.lanes:
                if latest(lane, 0) > seq or here.get(lane, 0) > seq:
                    self.violations += 1
                    break
                here[lane] = seq

    def start_over(self) -> None:
        """What is claimed from now on may have been delivered before, by whoever drained or from a damaged store."""
        self._latest.clear()

    def delivered(self, entries: Iterable[Entry]) -> None:
        """These were taken in."""
        latest = self._latest
        if len(latest) > self._lanes_max:
            latest.clear()
        for entry in entries:
            for lane in entry.lanes:
                if latest.get(lane, 0) < entry.seq:
                    latest[lane] = entry.seq
