"""Dead letters as text. Pure. Of what is in them nothing is told but a body that was asked for."""

import base64
from collections.abc import Iterator, Sequence

from msgspec import Raw

from cio_buffer.admin.letters import Letter, LetterInFull
from cio_buffer.cli.request_words import in_full, plain, request
from cio_buffer.cli.telling import ROUTES

HEAD = ("RECEIPT", "KIND", "DIED (UTC)", "ATTEMPTS", "REPLAYS", "REASON", "WHY")
LEAST = (18, 8, 19, 8, 7, 8, 0)
"""How wide columns are at least, so that the pages of a long list stand below each other."""

MARGIN = 13


def rows(letters: Sequence[Letter], *, with_head: bool, width: int | None) -> Iterator[str]:
    """A line for each, in columns, cut to `width`; nothing for none."""
    cells = [row(letter) for letter in letters]
    if with_head and cells:
        cells.insert(0, HEAD)
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        columns = zip(line, widths, LEAST, strict=True)
        text = "  ".join(cell.ljust(max(size, least)) for cell, size, least in columns).rstrip()
        yield text if width is None or len(text) <= width else text[: max(width - 3, 0)] + "..."


def row(letter: Letter) -> tuple[str, ...]:
    died_at = in_full(letter.died_at).partition(".")[0]
    counts = str(letter.attempts), str(letter.replays)
    return letter.receipt, plain(letter.kind), died_at, *counts, plain(letter.reason), why(letter)


def why(letter: Letter) -> str:
    """Customer.io's words, or ours where it said nothing: as in "400 required (name): must not be blank"."""
    what = [str(letter.status or ""), plain(letter.vendor_reason), f"({plain(letter.field)})" if letter.field else ""]
    return ": ".join(filter(None, [" ".join(filter(None, what)), plain(letter.message)]))


def letter_lines(letter: LetterInFull) -> Iterator[str]:
    """One letter: what it is, why it died, each request that it was in, and what may be done."""
    yield from fact("receipt", letter.receipt)
    yield from fact("kind", f"{plain(letter.kind)}, {letter.body_bytes} bytes")
    yield from fact("v1 call", plain(letter.call or ""))
    yield from fact("accepted", f"{in_full(letter.accepted_at)} UTC{by_route(letter)}")
    replays = f", replayed {letter.replays} times" if letter.replays else ""
    yield from fact("died", f"{in_full(letter.died_at)} UTC, attempts that count: {letter.attempts}{replays}")
    yield from fact("reason", plain(letter.reason))
    yield from fact("why", why(letter))
    yield from fact("traceparent", plain(letter.traceparent or ""))
    yield from fact("requests", *(f"{in_full(one.at)}  {'. '.join(request(one, one.at))}" for one in letter.history))
    yield from fact("next", *(f"cio-buffer dead {what} {letter.receipt}" for what in ("replay", "edit", "purge")))
    if isinstance(letter.body, Raw) or isinstance(letter.body_base64, str):
        yield from ("", body_text(letter))


def by_route(letter: Letter) -> str:
    said = ROUTES.get(letter.route or "", f"by {plain(letter.route or '')}").removeprefix("accepted ")
    return f", {said}" if letter.route else ""


def fact(name: str, *values: str) -> Iterator[str]:
    """Its name, and each value on a line of its own; nothing for what is not known."""
    for value in filter(None, values):
        yield f"{name:<{MARGIN}}{value}"
        name = ""


def body_of(letter: LetterInFull) -> bytes:
    """As it is stored; b"" where it was not asked for."""
    if isinstance(letter.body, Raw):
        return bytes(letter.body)
    return base64.b64decode(letter.body_base64 or "")


def body_text(letter: LetterInFull) -> str:
    """What a terminal would obey is written as in JSON, where it means the same."""
    body = body_of(letter).decode(errors="replace")
    return "".join(sign if sign.isprintable() or sign == "\n" else escaped(sign) for sign in body)


def escaped(sign: str) -> str:
    """As JSON has it: two numbers for what lies beyond the first 65,536."""
    units = sign.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
