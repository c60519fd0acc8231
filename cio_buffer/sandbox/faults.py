"""Scripted trouble: the script that a test or the demo writes."""

import random
from collections.abc import Callable, Iterable, Mapping

from cio_buffer.clock import Clock
from cio_buffer.sandbox.effects import JsonObject
from cio_buffer.sandbox.trouble import (
    Action,
    AnswerWith,
    Block,
    BreakOff,
    Delay,
    Fault,
    LoseAnswer,
    RefusalMode,
    Refuse,
    Tear,
    Trickle,
    Trouble,
    decide,
)


class Faults:
    """The script. Each method adds a fault for `requests` requests or `seconds` seconds, whichever ends first.

    With neither it lasts until `clear`. `path_prefix` narrows it to the paths that begin so.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._active: tuple[Fault, ...] = ()

    def answer(
        self,
        status: int,
        *,
        body: str | bytes = b"",
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        is_processed: bool = False,
        requests: int | None = None,
        seconds: float | None = None,
        path_prefix: str = "",
    ) -> None:
        """Answer `status` instead of processing. Without a Content-Type among `headers` the body is plain text.

        `is_processed`: the request is processed all the same, and its sender hears nothing of what came of it.
        """
        action = _answer(status, body, headers, is_processed=is_processed)
        self._set(action, requests, seconds, path_prefix)

    def delay(
        self, latency_s: float, *, requests: int | None = None, seconds: float | None = None, path_prefix: str = ""
    ) -> None:
        """Process at once, but answer `latency_s` later."""
        self._set(Delay(seconds=latency_s), requests, seconds, path_prefix)

    def trickle(
        self,
        *,
        chunk_bytes: int,
        pause_s: float,
        requests: int | None = None,
        seconds: float | None = None,
        path_prefix: str = "",
    ) -> None:
        """Send the answer, whichever it is, chunked: `chunk_bytes` of its body, a pause of `pause_s`, and so on."""
        if chunk_bytes < 1:
            raise ValueError("a chunk has at least one byte")
        self._set(Trickle(chunk_bytes=chunk_bytes, pause_s=pause_s), requests, seconds, path_prefix)

    def break_off(
        self,
        *,
        after_bytes: int,
        requests: int | None = None,
        seconds: float | None = None,
        path_prefix: str = "",
    ) -> None:
        """Process and answer, but drop the connection when `after_bytes` of the answer's body are sent.

        The head promises more than that: a shorter body is filled up with spaces. Together with `trickle` it is a
        chunked answer that lacks its end.
        """
        if after_bytes < 0:
            raise ValueError("nothing is sent before the start")
        self._set(BreakOff(after_bytes=after_bytes), requests, seconds, path_prefix)

    def lose_answers(
        self,
        *,
        probability: float = 1.0,
        chance: random.Random | None = None,
        requests: int | None = None,
        seconds: float | None = None,
        path_prefix: str = "",
    ) -> None:
        """Process, then drop the connection. A `probability` below 1 needs the `chance` to draw from."""
        if probability < 1.0 and chance is None:
            raise ValueError("a probability needs a source of chance")
        self._set(LoseAnswer(probability=probability, chance=chance), requests, seconds, path_prefix)

    def tear(self, *, requests: int | None = None, seconds: float | None = None, path_prefix: str = "") -> None:
        """Drop the connection before anything is processed."""
        self._set(Tear(), requests, seconds, path_prefix)

    def refuse(
        self,
        concerns: Callable[[JsonObject], bool],
        *,
        mode: RefusalMode = "operation",
        requests: int | None = None,
        seconds: float | None = None,
        path_prefix: str = "",
    ) -> None:
        """Call invalid each operation for whose body `concerns` is true.

        Mode "operation": an error in a batch's 207, a 400 elsewhere. The other modes refuse the whole request that has
        such an operation in it, and take nothing in. A request that is looked at counts as one of `requests`; at the
        App API a message or a broadcast is an operation.
        """
        self._set(Refuse(concerns=concerns, mode=mode), requests, seconds, path_prefix)

    def block(
        self,
        concerns: Callable[[JsonObject], bool],
        status: int | None,
        *,
        body: str | bytes = b"",
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        requests: int | None = None,
        seconds: float | None = None,
        path_prefix: str = "",
    ) -> None:
        """Answer `status` to each request that has an operation in it for whose body `concerns` is true.

        None drops the connection instead. Nothing of such a request is processed. So does a firewall that dislikes a
        word, or an error of Customer.io's own over one operation. A request that is looked at counts as one of
        `requests`.
        """
        action = Block(concerns=concerns, answer=None if status is None else _answer(status, body, headers))
        self._set(action, requests, seconds, path_prefix)

    @property
    def left(self) -> int:
        """How many are still to befall somebody. One whose time is over counts until the next request comes."""
        return len(self._active)

    def clear(self) -> None:
        """End all of them."""
        self._active = ()

    def take(self, path: str) -> Trouble:
        """Say what befalls the request for `path` that has just arrived, and use it up."""
        rolls = [_roll(fault.action) for fault in self._active]
        trouble, self._active = decide(self._active, path=path, now=self._clock.monotonic(), rolls=rolls)
        return trouble

    def _set(self, action: Action, requests: int | None, seconds: float | None, path_prefix: str) -> None:
        until = None if seconds is None else self._clock.monotonic() + seconds
        fault = Fault(action=action, requests_left=requests, until=until, path_prefix=path_prefix)
        self._active = (*self._active, fault)


def _answer(
    status: int,
    body: str | bytes,
    headers: Mapping[str, str] | Iterable[tuple[str, str]],
    *,
    is_processed: bool = False,
) -> AnswerWith:
    content = body.encode() if isinstance(body, str) else body
    pairs = tuple(headers.items() if isinstance(headers, Mapping) else headers)
    return AnswerWith(status=status, body=content, headers=pairs, is_processed=is_processed)


def _roll(action: Action) -> float:
    return action.chance.random() if isinstance(action, LoseAnswer) and action.chance is not None else 0.0
