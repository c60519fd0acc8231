"""What an SDK is made to say, call by call, on both roads; and what must be the same at their ends."""

import inspect
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, NamedTuple

from cio_buffer.sandbox.app_ledger import AppRequest
from tests.sdk.picture import differences, picture
from tests.sdk.roads import Roads

NOT_COMPARED = {
    "host", "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te",
    "trailer", "transfer-encoding", "upgrade",
}  # fmt: skip
"""Headers that are about one connection (RFC 9110, 7.6.1), and the host, which is another one on each road."""

DRAWN = re.compile(r"(?:boundary=|X-Request-Id: |X-Timestamp: )([0-9A-Za-z:.+-]{20,})")
"""What is another one in each request: where the parts of an upload end, and an id and a time that one SDK adds."""

SHOWN_CHARACTERS = 300


class Step(NamedTuple):
    """One call of an SDK: the method's name, with dots where it is reached through others."""

    method: str
    args: tuple[Any, ...]
    named: dict[str, Any]

    def __str__(self) -> str:
        given = [*map(repr, self.args), *(f"{name}={value!r}" for name, value in self.named.items())]
        return f"{self.method}({shortened(', '.join(given))})"


def step(method: str, *args: Any, **named: Any) -> Step:
    return Step(method, args, named)


Say = Callable[[Step], Awaitable[Any]]
"""Calls the SDK."""


async def tell(story: Sequence[Step], roads: Roads, *, by_us: Say, straight: Say) -> None:
    """Say each step on both roads: the answers must be the same, and so must what both workspaces have come to be.

    Raises AssertionError, which names the step.
    """
    for number, one in enumerate(story, start=1):
        answers = [await said(one, straight, "straight"), await said(one, by_us, "through the daemon")]
        assert answers[0] == answers[1], f"step {number}, {one} was answered differently: {answers}"
        await roads.daemon.until_empty()
        found = list(differences(picture(roads.straight.workspace), picture(roads.beyond.workspace)))
        assert not found, "\n".join([f"step {number}, {one} came out differently:", *found])
    assert not roads.beyond.ledger.counts["refused"], "something became a dead letter"


async def call_app(calls: Sequence[Step], roads: Roads, *, by_us: Say, straight: Say) -> None:
    """Make each App API call on both roads: the same must arrive, to the byte, and the same answer come back.

    Raises AssertionError, which names the call.
    """
    for one in calls:
        answers = [await said(one, straight, "straight"), await said(one, by_us, "through the daemon")]
        expected, found = (arrived(end.app_ledger.requests) for end in (roads.straight, roads.beyond))
        assert len(expected) == 1, f"{one} was to be one request: {expected}"
        differing = list(differences(expected, found))
        assert not differing, "\n".join([f"{one} arrived differently:", *differing])
        assert without_times(answers[0]) == without_times(answers[1]), f"{one} was answered differently: {answers}"
        roads.straight.app_ledger.requests.clear()
        roads.beyond.app_ledger.requests.clear()


async def said(one: Step, say: Say, road: str) -> Any:
    try:
        return await say(one)
    except Exception as problem:
        raise AssertionError(f"{one}, {road}: {type(problem).__name__}: {problem}") from problem


def arrived(requests: Iterable[AppRequest]) -> list[dict[str, Any]]:
    """Requests as they came off the wire, headers in their order, with what an SDK draws by chance masked."""
    found = []
    for one in requests:
        headers = [f"{name.decode()}: {value.decode()}" for name, value in one.headers]
        kept = [header for header in headers if header.partition(":")[0].lower() not in NOT_COMPARED]
        chance = DRAWN.findall("\n".join(kept))
        found.append(
            {
                "call": f"{one.method} {one.path}",
                "headers": [masked(header, chance) for header in kept],
                "body": masked((one.body or b"").decode("latin-1"), chance),
            }
        )
    return found


def masked(text: str, chance: Iterable[str]) -> str:
    for drawn in chance:
        text = text.replace(drawn, "drawn by chance")
    return text


def shortened(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"


def without_times(answer: Any) -> Any:
    """An answer without the moment at which it was given."""
    if not isinstance(answer, dict):
        return answer
    return {name: value for name, value in answer.items() if name != "queued_at"}


def public_names(kind: type) -> set[str]:
    """The methods and properties that a class offers, its parents' among them."""
    return {
        name
        for name, member in inspect.getmembers(kind)
        if not name.startswith("_") and (inspect.isroutine(member) or isinstance(member, property))
    }


def unknown(names: Iterable[str], calls: Sequence[Step], others: set[str], prefix: str = "") -> set[str]:
    """Which of an SDK's `names` no call covers; `others` make no request of their own. Also those that are gone."""
    covered = {one.method.removeprefix(prefix) for one in calls if one.method.startswith(prefix)}
    return set(names) ^ (covered | others)
