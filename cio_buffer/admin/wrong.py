"""When operators are told no. Apart from the routes, because commands read it too, and without aiohttp."""

from msgspec import Struct


class Wrong(Struct, frozen=True):
    """An error: a code that stays, a sentence, and the next step if there is one."""

    error: str
    detail: str
    hint: str = ""


class Declined(Exception):
    """It is a no: `status` is HTTP's. Raised where a question is read, and again where a command reads the answer."""

    def __init__(self, status: int, wrong: Wrong) -> None:
        super().__init__(wrong.detail)
        self.status, self.wrong = status, wrong


def misasked(code: str, detail: str, hint: str = "") -> Declined:
    """Whoever asks has to ask otherwise."""
    return Declined(400, Wrong(code, detail, hint))
