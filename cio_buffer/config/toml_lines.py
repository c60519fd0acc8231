"""On which line a key stands: tomllib does not tell, so we look for ourselves."""

import re

PART = r"""(?:[\w-]+|"[^"\\]*"|'[^']*')"""
NAME = rf"\s*({PART}(?:\s*\.\s*{PART})*)\s*"
HEADER = re.compile(rf"\s*\[{{1,2}}{NAME}\]")
KEY = re.compile(rf"{NAME}=")
TEXT_OF_SEVERAL_LINES = re.compile(r'"""|' + "'''")


def lines_of_names(text: str) -> dict[tuple[str, ...], int]:
    """The line (from 1) of each section header and each key, as far as they are easy to find.

    Only a guide for people: a key that is written in an unusual way may be missing. Expects TOML, but never fails.
    """
    lines: dict[tuple[str, ...], int] = {}
    section: tuple[str, ...] = ()
    inside_text = False
    for number, line in enumerate(text.split("\n"), start=1):
        if not inside_text:
            if header := HEADER.match(line):
                section = _parts(header[1])
                lines.setdefault(section, number)
            elif key := KEY.match(line):
                lines.setdefault(section + _parts(key[1]), number)
        inside_text ^= len(TEXT_OF_SEVERAL_LINES.findall(line)) % 2 == 1
    return lines


def _parts(name: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in re.findall(PART, name))
