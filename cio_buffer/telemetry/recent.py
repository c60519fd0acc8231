"""What happened lately, by label, in bounded memory."""

from collections import Counter, deque

PARTS = 10


class Recent:
    """Counts of the last `window_s` seconds, forgotten a tenth at a time. Times are monotonic seconds."""

    def __init__(self, window_s: float) -> None:
        self._part_s = window_s / PARTS
        self._window_s = window_s
        self._parts: deque[tuple[int, Counter[str]]] = deque(maxlen=PARTS + 1)
        self._began: float | None = None

    def add(self, label: str, now: float, count: int = 1) -> None:
        self._began = now if self._began is None else self._began
        part = int(now / self._part_s)
        if not self._parts or self._parts[-1][0] != part:
            self._parts.append((part, Counter()))
        self._parts[-1][1][label] += count

    def counts(self, now: float) -> dict[str, int]:
        """How often each label was added within the window."""
        oldest = int(now / self._part_s) - PARTS
        total: Counter[str] = Counter()
        for part, counts in self._parts:
            if part > oldest:
                total += counts
        return dict(total)

    def per_s(self, now: float) -> float:
        """All labels together, as a rate over the window, or over as much of it as there has been."""
        if self._began is None:
            return 0.0
        lasted_s = min(max(now - self._began, self._part_s), self._window_s)
        return sum(self.counts(now).values()) / lasted_s
