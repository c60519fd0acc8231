"""Stories as text that can be read aloud. Pure. Moments are UTC, with the date where it changes."""

import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import groupby

from cio_buffer.admin.durations import in_words
from cio_buffer.admin.story import State, Step, Story, Traced, What, read_moment
from cio_buffer.cli.request_words import in_full, ordinal, plain, request, vendors_words, written
from cio_buffer.upstream.troubles import hint_for

STATES: dict[State, str] = {
    "delivered": "delivered",
    "in_flight": "on its way",
    "pending": "waiting",
    "held": "held",
    "dead": "dead",
    "purged": "purged",
    "evicted": "evicted",
    "forgotten": "forgotten",
    "ended": "ended unseen",
}
"""In the order of the summary."""

ROUTES = {
    "": "accepted",
    "v1": "accepted by Track v1",
    "v2 entity": "accepted by Track v2",
    "v2 batch": "accepted by Track v2, in a batch",
    "lines": "accepted by the line socket",
}
STEPS: dict[What, str] = {
    "no_log": "no delivery log is kept: of its requests only what was kept with it is known",
    "log_begins": "the delivery log begins here: of requests before, only what was kept with it is known",
    "died": "died in a request of which no more is known",
    "replayed": "replayed: it waits again, behind all that was accepted before",
    "edited": "edited by a person",
    "purged": "purged by a person",
    "evicted": "evicted: dead letters had become too old, or too many",
    "forgotten": "forgotten: erased, as a person asked for",
    "salvaged": "salvaged from a damaged file: what befell it before is not known, and it may have been delivered",
    "stopped": "the daemon stopped",
    "started": "the daemon started again",
    "restarted": "the daemon started again, after it had ended without a word. A request that was under way then is"
    " missing here, and it may have been taken in",
}
WITH_ID = ("event", "page", "screen", "object_event")
ONCE = "; sent again it has the same id, so that it counts once"
MARGIN = " " * 27
FOLDED_MIN = 6
WIDTH_MIN = 60
"""In a narrower terminal it is that which breaks the lines."""


def told(traced: Traced, width: int | None = None) -> str:
    """All stories, and where there are several a summary. `width`: characters to a line, None for one line a step."""
    now = read_moment(traced.at)
    paragraphs = ["\n".join(lines(story, now, traced.log_since, width)) for story in traced.stories]
    return "\n\n".join([*paragraphs, " ".join(ending(traced))])


def ending(traced: Traced) -> Iterator[str]:
    if len(traced.stories) > 1:
        yield f"{summary(traced.stories)}."
    if traced.is_more:
        yield "There are more: ask with a greater --limit."
    yield "Times are UTC."


def summary(stories: Sequence[Story]) -> str:
    """Such as "3 operations: 1 delivered, 1 waiting, 1 dead"."""
    count = Counter(story.state for story in stories)
    return f"{len(stories)} operations: " + ", ".join(
        f"{count[state]} {STATES[state]}" for state in STATES if count[state]
    )


def lines(story: Story, now: datetime, log_since: str | None, width: int | None) -> Iterator[str]:
    """One story."""
    yield f"{story.receipt}  {story.kind or 'operation'}, {headline(story, now)}"
    day = ""
    for step, more in folded(story.steps):
        date, time = written(step.at)
        yield wrapped(f"  {date if date != day else ' ' * 10} {time}  ", sentence(step, story), width)
        day = date
        if more:
            yield f"{MARGIN}and {more} more like this"
    yield from (wrapped(MARGIN, remark, width) for remark in remarks(story, log_since))
    yield from (f"  {command}" for command in commands(story))  # never broken: they are copied


def folded(steps: Sequence[Step]) -> Iterator[tuple[Step, int]]:
    """Each step, and how many are left out behind it: of requests that came to the same, the first and the last are
    told. An operation may have been tried all night."""
    for _, alike in groupby(steps, key=likeness):
        run = list(alike)
        if len(run) < FOLDED_MIN:
            yield from ((step, 0) for step in run)
        else:
            yield run[0], len(run) - 2
            yield run[-1], 0


def likeness(step: Step) -> object:
    """What is the same of two requests that came to the same; of all else nothing is."""
    sent = step.sent
    return (
        id(step) if sent is None else (sent.status, sent.trouble, sent.outcome, sent.reason, sent.is_v1, sent.message)
    )


def wrapped(head: str, said: str, width: int | None) -> str:
    """On as many lines as it takes; no word is broken."""
    if width is None:
        return head + said
    fitting = textwrap.TextWrapper(max(width, WIDTH_MIN), break_long_words=False, break_on_hyphens=False)
    fitting.initial_indent, fitting.subsequent_indent = head, MARGIN
    return fitting.fill(said)


def headline(story: Story, now: datetime) -> str:
    """What became of it, in short."""
    accepted_at = read_moment(story.accepted_at)
    age = in_words(max((now - accepted_at).total_seconds(), 0.0))
    match story.state:
        case "pending":
            return f"waiting for {age}"
        case "in_flight":
            return f"on its way, {age} after it was accepted"
        case "held":
            return held(story, now)
        case "dead":
            return f"dead: {story.dead.reason if story.dead else 'nobody knows why'}"
        case "ended":
            return "ended: nobody saw how"
    if story.ended_at is None:
        return STATES[story.state]
    took_s = max((read_moment(story.ended_at) - accepted_at).total_seconds(), 0.0)
    return f"{STATES[story.state]} {in_words(took_s)} after it was accepted"


def held(story: Story, now: datetime) -> str:
    hold = story.held
    if hold is None or hold.until is None:
        return "held: it waits for an earlier one of the same person or object"
    in_s = (read_moment(hold.until) - now).total_seconds()
    until = f"held until {in_full(hold.until)}, in {in_words(in_s)}" if in_s > 0 else "held, and due now"
    return f"{until}, for the {ordinal(hold.holds)} time: {hold.reason}" if hold.reason else until


def sentence(step: Step, story: Story) -> str:
    """One step."""
    if step.what == "accepted":
        by = ROUTES.get(story.route, f"accepted by {plain(story.route)}")
        return f"{by}, and on disk before the app was told so"
    return ". ".join(request(step.sent, step.at)) if step.sent else STEPS[step.what]


def remarks(story: Story, log_since: str | None) -> Iterator[str]:
    """What else is to be known."""
    if story.dead and story.steps[-1].what == "died" and (words := vendors_words(story.dead)):
        yield f"Customer.io says: {words}"
    if story.held and (hint := hint_for(story.held.reason)):
        yield hint
    if story.state == "ended":
        yield ended(story, log_since)
    if story.is_ambiguous and story.state in ("pending", "held", "dead"):
        yield "it may have been taken in already" + (ONCE if story.kind in WITH_ID else "")


def commands(story: Story) -> Iterator[str]:
    """What may be done."""
    if story.state == "dead":
        yield f"see what is in it:  cio-buffer dead show {story.receipt}"
        yield f"send it again:      cio-buffer dead replay {story.receipt}"
    if story.state in ("pending", "held"):
        yield "it leaves by itself; if anything stops it, this says what:  cio-buffer status"


def ended(story: Story, log_since: str | None) -> str:
    """Of one that nobody saw ending: what can be said all the same."""
    neither = "it is not waiting and is no dead letter"
    if log_since is None or log_since <= story.accepted_at:
        return f"{neither}: it was delivered, purged or evicted, and nothing tells which"
    return f"{neither}: so it was delivered, purged or evicted before {in_full(log_since)}, where the log begins"


def nothing_found(traced: Traced) -> str:
    """What is said where there is no story."""
    if traced.log_since is None:
        return "nothing found: nothing of it waits or is dead, and no delivery log is kept that could know more"
    since = in_full(traced.log_since)
    return (
        f"nothing found: nothing of it waits or is dead, nor was in a request since {since} UTC, where the log begins"
    )
