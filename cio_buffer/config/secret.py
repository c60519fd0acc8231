"""A text that must not be shown."""


class Secret:
    """Keeps a key out of logs, messages and dumps: only `reveal` gives it away. False when empty.

    A plain class and no Struct, so that msgspec refuses to encode it by accident.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The text itself, for the one place that has to send it."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)" if self._value else "Secret()"

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)
