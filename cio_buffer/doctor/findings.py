"""What a check comes to."""

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

State = Literal["ok", "warning", "failed"]


class Check(Struct, frozen=True, kw_only=True):
    """One line. `name` stays the same; `seen` is what was found; `fix` what to do, "" if nothing."""

    name: str
    state: State
    seen: str
    fix: str = ""


class Diagnosis(Struct, frozen=True, kw_only=True):
    """All of them, and the worst of their states."""

    state: State
    checks: list[Check]


def ok(name: str, seen: str) -> Check:
    return Check(name=name, state="ok", seen=seen)


def warning(name: str, seen: str, fix: str) -> Check:
    return Check(name=name, state="warning", seen=seen, fix=fix)


def failed(name: str, seen: str, fix: str) -> Check:
    return Check(name=name, state="failed", seen=seen, fix=fix)


def diagnosis(checks: Sequence[Check]) -> Diagnosis:
    states = {check.state for check in checks}
    worst: State = "failed" if "failed" in states else "warning" if "warning" in states else "ok"
    return Diagnosis(state=worst, checks=list(checks))
