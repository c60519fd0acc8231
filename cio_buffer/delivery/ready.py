"""What may leave, oldest first."""

from collections import deque
from heapq import heappop, heappush

from cio_buffer.delivery.claimed import Claimed


class ReadyQueue:
    """First accepted, first sent.

    What is claimed comes in order and goes to the end of a plain queue; only what comes back goes on a heap. With a
    heap for all of it each entry of a backlog took 1.3 µs more.
    """

    def __init__(self) -> None:
        self._in_order: deque[Claimed] = deque()
        self._late: list[tuple[int, Claimed]] = []
        self.bytes = 0
        """Of all bodies in it."""

    def __len__(self) -> int:
        return len(self._in_order) + len(self._late)

    def push(self, claimed: Claimed) -> None:
        self.bytes += len(claimed.body)
        if not self._in_order or self._in_order[-1].seq < claimed.seq:
            self._in_order.append(claimed)
        else:
            heappush(self._late, (claimed.seq, claimed))

    @property
    def first(self) -> Claimed | None:
        """The oldest."""
        in_order, late = self._in_order, self._late
        if late and (not in_order or late[0][0] < in_order[0].seq):
            return late[0][1]
        return in_order[0] if in_order else None

    def pop(self) -> Claimed:
        """Take the oldest out. There must be one."""
        in_order, late = self._in_order, self._late
        if late and (not in_order or late[0][0] < in_order[0].seq):
            _, claimed = heappop(late)
        else:
            claimed = in_order.popleft()
        self.bytes -= len(claimed.body)
        return claimed
