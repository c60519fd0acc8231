"""The delivery log in plain Python: what was written, of whom, and what of it is still there."""

from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct, field, structs

from cio_buffer.outbox.archive import Happening, What
from cio_buffer.outbox.entry import Fate

LIVES_MAX = 50


class Mention(Struct, frozen=True, kw_only=True):
    """An entry in a line, as it was then. `route` and `event_id` are "" where the log cannot know them."""

    number: int
    lanes: frozenset[str]
    kind: str
    route: str
    event_id: str
    accepted_at_ms: int
    fate: Fate | None = None


class Line(Struct, frozen=True, kw_only=True):
    """A request that is over, or what else befell entries, or all: then there are no mentions."""

    at_ms: int
    what: What
    mentions: Sequence[Mention] = ()
    request: int | None = None
    took_ms: int = 0
    status: int | None = None
    trouble: str | None = None
    is_v1: bool = False

    def of(self, number: int) -> Mention | None:
        return next((mention for mention in self.mentions if mention.number == number), None)

    def as_told_of(self, number: int) -> Happening:
        mention = self.of(number)
        return Happening(
            at_ms=self.at_ms,
            what=self.what,
            request=self.request,
            took_ms=self.took_ms,
            status=self.status,
            trouble=self.trouble,
            is_v1=self.is_v1,
            entries=len(self.mentions),
            fate=mention.fate if mention else None,
        )


class Logbook(Struct):
    """`lines` in the order in which they were written. `last_request`: the highest that ever was."""

    lines: list[Line] = field(default_factory=list)
    last_request: int = 0

    def write(self, line: Line) -> None:
        self.lines.append(line)
        self.last_request = max(self.last_request, line.request or 0)

    @property
    def begins_at_ms(self) -> int | None:
        return self.lines[0].at_ms if self.lines else None

    @property
    def is_whole_since_ms(self) -> int | None:
        return self.lines[0].at_ms + self.lines[0].took_ms if self.lines else None

    def mentions(self) -> Iterator[tuple[Line, Mention]]:
        for line in self.lines:
            for mention in line.mentions:
                yield line, mention

    def last_of(self, number: int) -> Mention | None:
        """How it was mentioned last."""
        return next((mention for _, mention in reversed(list(self.mentions())) if mention.number == number), None)

    def story(self, number: int, accepted_at_ms: int, *, is_gone: bool) -> list[Happening]:
        """What befell it, with the starts and stops of its time: of what is gone until that was written."""
        own = [n for n, line in enumerate(self.lines) if line.of(number)]
        lives = [n for n, line in enumerate(self.lines) if not line.mentions and not (is_gone and n > own[-1])]
        before = 0
        while before < len(lives) and self.lines[lives[before]].at_ms < accepted_at_ms:
            before += 1
        first, lives = lives[:1], lives[max(before - 1, 0) :][-LIVES_MAX - 1 :]
        if lives and lives[:1] != first and self._is_start_since(lives[0], accepted_at_ms):
            del lives[0]  # whether it followed a clean end cannot be told any more
        return [self.lines[n].as_told_of(number) for n in sorted([*own, *lives])]

    def _is_start_since(self, n: int, at_ms: int) -> bool:
        return self.lines[n].what == "started" and self.lines[n].at_ms >= at_ms

    def prune(self, count: int) -> Sequence[Line]:
        """The oldest go."""
        gone, self.lines = self.lines[:count], self.lines[count:]
        return gone

    def blank(self, lanes: Iterable[str]) -> None:
        """Whoever touched one of these is erased."""
        left = []
        for line in self.lines:
            mentions = [mention for mention in line.mentions if mention.lanes.isdisjoint(lanes)]
            if mentions or not line.mentions:
                left.append(structs.replace(line, mentions=mentions))
        self.lines = left
