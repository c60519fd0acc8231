"""What README.md tells people to type, taken from there."""

import re
from pathlib import Path

from msgspec import Struct

README = Path(__file__).parents[2] / "README.md"
HEADING = "## Point your SDK here\n"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(Struct, frozen=True):
    """A fenced block."""

    language: str
    text: str

    def at(self, places: dict[str, object]) -> str:
        """Its text with other addresses and paths. Raises AssertionError if it has none of them."""
        text = self.text
        for printed, real in places.items():
            text = text.replace(printed, str(real))
        assert text != self.text, f"nothing of {list(places)} is in:\n{self.text}"
        return text


def blocks() -> list[Block]:
    """Those about SDKs, in their order."""
    section = README.read_text().partition(HEADING)[2].partition("\n## ")[0]
    return [Block(*found) for found in BLOCK.findall(section)]


def block(language: str, words: str) -> Block:
    """The one in that language that has these words. Raises AssertionError unless it is one."""
    found = [one for one in blocks() if one.language == language and words in one.text]
    assert len(found) == 1, f"README.md has {len(found)} blocks in {language} with {words!r}"
    return found[0]
