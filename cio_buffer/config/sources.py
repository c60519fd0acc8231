"""Where settings come from: $STATE_DIRECTORY, the file, the environment. The later ones win."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from cio_buffer.config.keys import FIELDS
from cio_buffer.config.problems import ConfigError, Problem
from cio_buffer.config.toml_lines import lines_of_names

PREFIX = "CIO_BUFFER__"

Name = tuple[str, ...]
"""("upstream", "region") for a key, ("upstream",) for a section; any other length is a name we do not know."""


class Given(msgspec.Struct, frozen=True):
    """One setting as somebody wrote it: not checked, the name perhaps unknown."""

    value: object
    where: str
    is_variable: bool = False


class Settings(msgspec.Struct, frozen=True):
    """All that was written, one value per name; `sections` says where a section begins in the file."""

    given: dict[Name, Given]
    sections: dict[Name, str]
    file: str

    def where(self, name: Name) -> str:
        """The place to look at for `name`: its own, else its section's, else the file."""
        if name in self.given:
            return self.given[name].where
        return self.sections.get(name[:1], self.file)


def gather(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Read all sources. Raises ConfigError with one problem when the file cannot be read or is not TOML."""
    text = _read(path) if path else ""
    lines = lines_of_names(text)

    def where(name: Name) -> str:
        line = lines.get(name) or lines.get(name[:1])
        return f"{path}, line {line}" if line else str(path)

    in_file = {name: Given(value, where(name)) for name, value in _names_in(_parse(text, str(path)))}
    return Settings(
        given={**_from_systemd(environ), **in_file, **_from_environment(environ)},
        sections={name: where(name) for name in lines if len(name) == 1},
        file=str(path) if path else "no config file",
    )


def may_exist(path: Path) -> bool:
    """True also where we may not look: then reading it says so, instead of the daemon running without it."""
    try:
        return path.exists()
    except OSError:
        return True


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise _unusable("the config file is not UTF-8 text", f"{path}, line {line}", "save it as UTF-8") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a usable path"
        fix = "check the path and its permissions, or leave it out and use the environment"
        raise _unusable(f"cannot read the config file ({reason})", str(path), fix) from None


def _parse(text: str, file: str) -> dict[str, object]:
    try:
        return tomllib.loads(text)
    except (
        ValueError,
        RecursionError,
    ) as error:  # also ValueErrors that are no TOMLDecodeError: numbers of 5000 digits
        message, line = _in_toml_error(error, text)
        where = f"{file}, line {line}" if line else file
        raise _unusable(f"not TOML: {message}", where, "correct this line; texts need quotes") from None


def _in_toml_error(error: Exception, text: str) -> tuple[str, int | None]:
    """tomllib's message without its position, and the line of that position."""
    if not isinstance(error, tomllib.TOMLDecodeError):
        return "a number is too long or tables are too deep", None
    found = re.fullmatch(r"(.*) \(at (?:line (\d+), column \d+|end of document)\)", str(error), re.DOTALL)
    if found is None:
        return "a value has the wrong form", None
    message = found[1][:1].lower() + found[1][1:]
    return message, int(found[2]) if found[2] else max(1, len(text.splitlines()))


def _unusable(what: str, where: str, fix: str) -> ConfigError:
    return ConfigError([Problem(what=what, where=where, why="without it none of its settings is known", fix=fix)])


def _names_in(table: dict[str, object]) -> Iterator[tuple[Name, object]]:
    """The keys of known sections one by one; what is no known section, whole."""
    for name, value in table.items():
        if name in FIELDS and isinstance(value, dict):
            yield from (((name, key), inner) for key, inner in value.items())
        else:
            yield (name,), value


def _from_environment(environ: Mapping[str, str]) -> dict[Name, Given]:
    """CIO_BUFFER__UPSTREAM__REGION=eu → ("upstream", "region"). Upper and lower case are the same."""
    found = {}
    for variable in sorted(environ):
        if variable.upper().startswith(PREFIX):
            name = tuple(variable[len(PREFIX) :].lower().split("__"))
            found[name] = Given(_typed(name, environ[variable]), variable, is_variable=True)
    return found


def _typed(name: Name, text: str) -> object:
    """`text` as the type of its key has it; what cannot be read stays text, and is refused as such later."""
    field = FIELDS.get(name[0], {}).get(name[1]) if len(name) == 2 else None
    try:
        match field.default if field else None:
            case bool():
                return {"true": True, "false": False}.get(text.lower(), text)
            case int():
                return int(text)
            case float():
                return float(text)
    except ValueError:
        pass
    return text


def _from_systemd(environ: Mapping[str, str]) -> dict[Name, Given]:
    """systemd names our state directory, or several with colons between; the first one is ours."""
    directory = environ.get("STATE_DIRECTORY", "").partition(":")[0]
    if not directory:
        return {}
    return {("outbox", "path"): Given(str(Path(directory) / "outbox.db"), "STATE_DIRECTORY")}
