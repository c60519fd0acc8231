"""Settings as written → typed sections, and a finding for each that does not fit. Pure."""

import difflib
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import inspect

from cio_buffer.config.keys import FIELDS, SECTIONS, Config
from cio_buffer.config.problems import quoted
from cio_buffer.config.secret import Secret
from cio_buffer.config.secrets import HIDDEN
from cio_buffer.config.sources import PREFIX, Given, Name


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A problem before its place is known. `names` are the settings it is about, the one to point at first."""

    names: tuple[Name, ...]
    what: str
    why: str
    fix: str


def read(given: dict[Name, Given]) -> tuple[Config, list[Finding]]:
    """Type every setting. Where one does not fit, the Config has the default instead and there is a finding."""
    typed: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    findings = []
    for name, setting in given.items():
        if not _is_known(name):
            findings.append(_unknown(name, is_variable=setting.is_variable))
        elif len(name) == 1:
            findings.append(_not_a_section(name))
        else:
            try:
                typed[name[0]][name[1]] = _convert(name, setting.value)
            except msgspec.ValidationError:
                findings.append(_misfit(name, setting.value))
    sections: dict[str, Any] = {section: SECTIONS[section](**values) for section, values in typed.items()}
    return Config(**sections), findings


def _is_known(name: Name) -> bool:
    return name[0] in FIELDS and (len(name) == 1 or (len(name) == 2 and name[1] in FIELDS[name[0]]))


def _convert(name: Name, value: object) -> object:
    return msgspec.convert(value, FIELDS[name[0]][name[1]].type, dec_hook=_secret)


def _secret(_type: type, value: object) -> Secret:
    if not isinstance(value, str):
        raise TypeError("a secret is text")
    return Secret(value)


def _unknown(name: Name, *, is_variable: bool) -> Finding:
    what = f"unknown {_called(name)}"
    why = "ignored, it would look as if it were set and change nothing"
    guess = _guess(name)
    if guess is None:
        fix = "remove it, or compare with config.example.toml, which has every key"
        return Finding(names=(name,), what=what, why=why, fix=fix)
    if len(guess) == 2 and (default := FIELDS[guess[0]][guess[1]].default):
        why = f"ignored, it would leave {guess[1]} at {_shown(guess, default)}"
    return Finding(names=(name, guess), what=what, why=why, fix=f"did you mean {_spelled(guess, name, is_variable)}?")


def _spelled(guess: Name, name: Name, is_variable: bool) -> str:
    """The better name, in the form in which the unknown one was written."""
    if is_variable:
        return PREFIX + "__".join(guess).upper()
    return quoted(guess[-1]) if guess[:-1] == name[:-1] else f"{quoted(guess[-1])} in [{guess[0]}]"


def _called(name: Name) -> str:
    match name:
        case (section,):
            return f"section or key {quoted(section)}"
        case (section, key) if section in FIELDS:
            return f"key {quoted(key)} in [{section}]"
        case _:
            return f"setting {quoted('.'.join(name))}"


def _guess(name: Name) -> Name | None:
    """What may have been meant: the nearest of all names, else a key of that name in the only section that has one."""
    known: dict[str, Name] = {section: (section,) for section in FIELDS}
    if len(name) > 1 or name[0].partition("_")[0] in FIELDS:
        known = {f"{section}_{key}": (section, key) for section, fields in FIELDS.items() for key in fields}
    near = difflib.get_close_matches("_".join(name), known, n=1, cutoff=0.8)
    elsewhere = [(section, name[-1]) for section, fields in FIELDS.items() if name[-1] in fields]
    if len(elsewhere) == 1:
        return elsewhere[0]
    return known[near[0]] if near else None


def _not_a_section(name: Name) -> Finding:
    return Finding(
        names=(name,),
        what=f"{name[0]} is not a section",
        why="its keys have no place to stand",
        fix=f"write [{name[0]}] on a line of its own and its keys below, or name a key in the variable too",
    )


def _misfit(name: Name, value: object) -> Finding:
    section, key = name
    field = FIELDS[section][key]
    return Finding(
        names=(name,),
        what=f"{key} in [{section}] cannot be {_shown(name, value)}",
        why="the daemon does not guess what was meant",
        fix=f"give {' '.join(_allowed(inspect.type_info(field.type)))}; the default is {_shown(name, field.default)}",
    )


def _allowed(kind: inspect.Type) -> Iterator[str]:
    """The type of a key and its bounds in words."""
    match kind:
        case inspect.Metadata(type=inner, extra_json_schema=schema):
            yield str(schema["description"]) if schema else " ".join(_allowed(inner))
        case inspect.BoolType():
            yield "true or false"
        case inspect.LiteralType(values=values):
            yield " or ".join(quoted(str(value)) for value in values)
        case inspect.IntType(gt=above, ge=least, le=most) | inspect.FloatType(gt=above, ge=least, le=most):
            yield "a whole number" if isinstance(kind, inspect.IntType) else "a number"
            yield f"of at least {least:_}," if above is None else f"above {above:_},"
            yield f"at most {most:_}"
        case _:
            yield "text in quotes"


def _shown(name: Name, value: object) -> str:
    """`value` for a message; what may hold a key or a password stays hidden."""
    match value:
        case bool():
            return str(value).lower()
        case int() | float() if name in HIDDEN:
            return "a number"
        case int() if value.bit_length() > 64:
            return "so large a number"
        case int() | float():
            return f"{value:_}"
        case str() if value and name in HIDDEN:
            return "this text"
        case str():
            return quoted(value)
        case dict():
            return "a table"
        case list():
            return "a list"
        case _:
            return "a value of this kind"
