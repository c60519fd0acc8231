"""What is wrong with a config, in words for the person who wrote it."""

import json
from collections.abc import Iterable

import msgspec

WHERE_COLUMN = 76


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One mistake: what it is, where, why it matters, what to do. No field ever holds a secret."""

    what: str
    where: str  # "config.toml, line 12", or the name of an environment variable
    why: str
    fix: str


class ConfigError(Exception):
    """The config cannot be used. `problems` has every mistake that was found, never none."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(render(self.problems))


def render(problems: Iterable[Problem]) -> str:
    """The problems as text, a block of three lines for each."""
    return "\n".join(
        f"{f'error: {problem.what}'.ljust(WHERE_COLUMN - 2)}  {on_one_line(problem.where)}\n"
        f"  why: {problem.why}\n"
        f"  fix: {problem.fix}"
        for problem in problems
    )


def on_one_line(place: str) -> str:
    """A file's name, or a variable's, as it is; quoted where it holds what would break the line."""
    return place if place.isprintable() else quoted(place)


def quoted(text: str) -> str:
    """`text` in double quotes, on one line whatever it holds, and cut when long."""
    return json.dumps(text if len(text) <= 60 else text[:57] + "...", ensure_ascii=not text.isprintable())
