"""A request as text that can be read aloud: what came back, and what that meant for the operation. Pure."""

from collections.abc import Iterator

from cio_buffer.admin.durations import in_words
from cio_buffer.admin.story import Death, Sent

TROUBLES = {
    "timeout": "no answer within {}",
    "torn": "the connection broke after {}",
    "connect": "no connection opened",
    "dns": "the name of Customer.io's host could not be looked up",
    "tls": "no certificate was shown that this machine trusts",
    "abandoned": "given up after {}, because the daemon stopped",
}
"""What took the place of an answer, after how long."""

REASONS = {
    "": "",
    "unavailable": "",
    "refused": "",
    "throttled": "too many requests",
    "credentials_rejected": "the key is rejected",
    "forbidden": "forbidden",
    "not_found": "nothing is there",
    "redirected": "sent elsewhere",
    "not_customer_io": "somebody else answers, with a web page",
    "too_large": "too large",
}
"""What the number of an answer does not say by itself."""

DEATHS = {"expired": "expired, because it was tried for as long as retry.keep_trying_for_s says"}
SHORT_S = 0.1
UNDECIDED = ("refused", "too_large")
PLACES = ("", "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")


def request(sent: Sent, at: str) -> Iterator[str]:
    """One request, which left at `at`: what came back, and what that meant for the operation."""
    yield f"request {sent.number}{company(sent)}: {came_back(sent)}"
    if sent.is_ambiguous:
        yield "It may have been taken in"
    yield from became(sent, at)
    if sent.outcome == "dead" and (words := vendors_words(sent)):
        yield f"Customer.io says: {words}"


def company(sent: Sent) -> str:
    """With how many others, in which of its own requests."""
    others = "" if sent.entries is None else with_others(sent.entries - 1)
    alone = ", in v1" if sent.is_v1 else others
    return alone + (f", its {ordinal(sent.attempt)}" if sent.attempt is not None and sent.attempt > 1 else "")


def with_others(others: int) -> str:
    if others < 1:
        return ", alone"
    return f", with {others} other{'s' if others > 1 else ''}"


def came_back(sent: Sent) -> str:
    """The answer, or what took its place."""
    took = took_in_words(sent.took_s)
    if sent.outcome == "under_way":
        return f"under way for {took}, not answered yet"
    if sent.status is None:
        return no_answer(sent.trouble or sent.reason, took)
    reason = REASONS.get(sent.reason, plain(sent.reason)) if sent.outcome != "dead" else ""
    return f"{sent.status} after {took}" + (f" ({reason})" if reason else "")


def took_in_words(took_s: float) -> str:
    return in_words(took_s) if took_s >= SHORT_S else f"{max(took_s, 0.0) * 1000:.0f} ms"


def no_answer(trouble: str, took: str) -> str:
    if trouble in TROUBLES:
        return TROUBLES[trouble].format(took)
    return f"no answer after {took}" + (f" ({plain(trouble)})" if trouble else "")


def became(sent: Sent, at: str) -> Iterator[str]:
    """What became of the operation."""
    match sent.outcome:
        case "delivered":
            yield "Delivered"
        case "again" if sent.reason in UNDECIDED:
            yield "One of these was refused: to be sent again, in smaller requests"
        case "again":
            yield "To be sent again"
        case "in_v1":
            yield "To be said in v1"
        case "held":
            yield "Held" + (f" until {within(sent.until, at)}" if sent.until else "")
        case "dead":
            yield f"Dead: {DEATHS.get(sent.reason, plain(sent.reason))}"


def vendors_words(said: Sent | Death) -> str:
    """Customer.io's reason, field and message, as far as there are any."""
    where = f" ({plain(said.field)})" if said.field else ""
    return ": ".join(filter(None, [f"{plain(said.vendor_reason)}{where}".strip(), plain(said.message)]))


def ordinal(number: int) -> str:
    if number < len(PLACES):
        return PLACES[number]
    is_teen = number % 100 in (11, 12, 13)
    return f"{number}{'th' if is_teen else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"


def written(moment: str) -> tuple[str, str]:
    """A moment's date and time of day."""
    date, _, time = moment.rstrip("Z").partition("T")
    return date, time


def within(moment: str, other: str) -> str:
    """A moment, without its date if that is the other's."""
    date, time = written(moment)
    return time if date == written(other)[0] else f"{date} {time}"


def in_full(moment: str) -> str:
    return " ".join(written(moment))


def plain(words: str) -> str:
    """Others' words on one line, with nothing in them that a terminal would obey."""
    return "".join(letter if letter.isprintable() else "?" for letter in " ".join(words.split()))
