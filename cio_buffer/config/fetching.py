"""Where a secret is: a systemd credential, a file, an environment variable, or (for tests) the config itself."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from cio_buffer.config.addresses import is_loopback, parse_url
from cio_buffer.config.keys import FIELDS, Config
from cio_buffer.config.reading import Finding
from cio_buffer.config.secret import Secret
from cio_buffer.config.secrets import LOCAL_KEY, SECRETS, SecretSetting
from cio_buffer.config.sources import Name, may_exist

NONE = Secret("")


class _NoKey(Exception):
    """Why there is no key, and what to do about it."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(what)
        self.fix = fix


def fetch(config: Config, environ: Mapping[str, str]) -> tuple[Config, list[Finding]]:
    """Put every secret into the key of its name, from the one form that is set; empty where there is none.

    A message names the form, never what is written there: a key pasted into the wrong place must not show in a log.
    """
    answers = {secret: _fetch(secret, config, environ) for secret in SECRETS}
    found = {secret: NONE if isinstance(answer, Finding) else answer for secret, answer in answers.items()}
    missed = [answer for answer in answers.values() if isinstance(answer, Finding)]
    return _filled(config, found), [*missed, *_local_key_of_worth(config, found)]


def _filled(config: Config, found: Mapping[SecretSetting, Secret]) -> Config:
    for secret, key in found.items():
        section = msgspec.structs.replace(getattr(config, secret.section), **{secret.key: key})
        config = msgspec.structs.replace(config, **{secret.section: section})
    return config


def _local_key_of_worth(config: Config, found: Mapping[SecretSetting, Secret]) -> Iterator[Finding]:
    """A finding for each key of Customer.io's that the local key equals."""
    for other, key in found.items():
        if other != LOCAL_KEY and key and key == found[LOCAL_KEY]:
            yield Finding(
                names=(*_names_set(LOCAL_KEY, config), *other.names),
                what=f"the local key is the {other.called} too",
                why="a local key must be worth nothing at Customer.io: many apps hold it, and one may leak it",
                fix="make another one, for example with: openssl rand -hex 32",
            )


def _fetch(secret: SecretSetting, config: Config, environ: Mapping[str, str]) -> Secret | Finding:
    names = _names_set(secret, config)
    if len(names) > 1:
        return Finding(
            names=names,
            what=f"the {secret.called} is set in {len(names)} ways: {', '.join(form for _, form in names)}",
            why="only one of them can be right, and the daemon does not choose",
            fix="keep one of them",
        )
    if not names and not secret.is_required and not _may_have_default(secret, config, environ):
        return NONE
    form = names[0][1] if names else secret.credential
    try:
        return _checked(_given(secret, form, config, environ), form)
    except _NoKey as reason:
        return Finding(names=_suspects(secret, form), what=str(reason), why=secret.why, fix=reason.fix)


def _names_set(secret: SecretSetting, config: Config) -> tuple[Name, ...]:
    """The forms in use. The default credential is none of them: it counts only when there is no other."""
    return tuple(name for name in secret.names if _value(config, name) not in ("", _default(name)))


def _value(config: Config, name: Name) -> Any:
    section, key = name
    return getattr(getattr(config, section), key)


def _default(name: Name) -> object:
    section, key = name
    return FIELDS[section][key].default


def _may_have_default(secret: SecretSetting, config: Config, environ: Mapping[str, str]) -> bool:
    directory, name = environ.get("CREDENTIALS_DIRECTORY", ""), _value(config, (secret.section, secret.credential))
    return bool(directory and name) and may_exist(Path(directory, name))


def _suspects(secret: SecretSetting, form: str) -> tuple[Name, ...]:
    """`form`, and the settings that may be to blame for what it does not give."""
    others: dict[str, tuple[Name, ...]] = {
        secret.key: (secret.url,),
        secret.credential: secret.names,  # it remains when the others are not set, perhaps for a typing mistake
    }
    return ((secret.section, form), *others.get(form, ()))


def _given(secret: SecretSetting, form: str, config: Config, environ: Mapping[str, str]) -> str:
    """The text that `form` gives, not checked yet."""
    value = _value(config, (secret.section, form))
    match form:
        case secret.key:
            return _literal(secret, value, url=_value(config, secret.url))
        case secret.file:
            return _contents(Path(value), f"the file that {form} names")
        case secret.env:
            return environ.get(value, "")
        case _:
            return _from_credential(secret, value, environ.get("CREDENTIALS_DIRECTORY", ""))


def _literal(secret: SecretSetting, key: Secret, *, url: str) -> str:
    if not _is_local(url):
        raise _NoKey(
            f"{secret.key} in [{secret.section}] holds the key itself",
            f"put it into a file and name that in {secret.file}; "
            f"a literal is for tests, with {secret.url[1]} on this machine",
        )
    return key.reveal()


def _is_local(url: str) -> bool:
    try:
        return is_loopback(parse_url(url).hostname or "")
    except ValueError:
        return False


def _from_credential(secret: SecretSetting, name: str, directory: str) -> str:
    if directory and name:
        return _contents(Path(directory, name), f"the systemd credential that {secret.credential} names")
    default = _default((secret.section, secret.credential))
    if name not in ("", default):
        raise _NoKey(
            f"{secret.credential} names a systemd credential, and systemd passes none",
            f"pass it with LoadCredential= in the systemd unit, or set {secret.file} or {secret.env} instead",
        )
    raise _NoKey(
        f"there is no {secret.called}: no form of it is set, and systemd passes no credential",
        f"set {secret.file} or {secret.env} in [{secret.section}], "
        f"or LoadCredential={default}:/a/file in the systemd unit",
    )


def _contents(path: Path, called: str) -> str:
    """The text of a file without its last line ending."""
    try:
        return path.read_text("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise _NoKey(f"{called} is not text", "put the key in it, and nothing else") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a usable path"
        raise _NoKey(f"cannot read {called} ({reason})", "check its path, owner and permissions") from None


def _checked(key: str, form: str) -> Secret:
    if not key:
        raise _NoKey(f"what {form} names is empty or not there", "put the key there")
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise _NoKey(f"what {form} gives is not a key", "put the key there: one line, without spaces or quotes")
    return Secret(key)
