"""Reads the config as the daemon would, and says what is wrong with it."""

from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from cio_buffer.config import Config, ConfigError, Problem, glance, load
from cio_buffer.doctor.findings import Check, failed, ok, warning

NAME = "config"
OUT_OF_SIGHT = "it is whole but for the Track API key: no form of it is set, so systemd has to pass it to the daemon"
OUT_OF_SIGHT_FIX = (
    "set upstream.track_api_key_file; or, if the unit has LoadCredential=track_api_key:FILE, all is well, and this has "
    "the key checked: "
    "systemd-run --pipe --wait -p LoadCredential=track_api_key:FILE cio-buffer doctor"
)
PLACEHOLDER = {
    "CIO_BUFFER__UPSTREAM__TRACK_API_KEY_CREDENTIAL": "track_api_key",
    "CIO_BUFFER__UPSTREAM__TRACK_API_KEY_ENV": "CIO_BUFFER_DOCTOR_PLACEHOLDER",
    "CIO_BUFFER_DOCTOR_PLACEHOLDER": "placeholder",
}
"""With a key in the environment the config passes, if nothing else is wrong with it."""


class ConfigSeen(Struct, frozen=True, kw_only=True):
    """`config` is None where it cannot be read at all. `has_key`: the Track API key is known here.

    `is_key_out_of_sight`: nothing is wrong but that no key is here, and systemd would pass one to the daemon alone.
    """

    path: str
    config: Config | None
    problems: tuple[Problem, ...] = ()
    has_key: bool = False
    is_key_out_of_sight: bool = False


def see_config(path: Path | None, environ: Mapping[str, str]) -> ConfigSeen:
    """Read it; where it does not pass, as far as it goes."""
    named = str(path) if path else "the defaults and the environment"
    try:
        return ConfigSeen(path=named, config=load(path, environ), has_key=True)
    except ConfigError as mistakes:
        problems = mistakes.problems
    try:
        seen = glance(path, environ)
    except ConfigError as unreadable:
        return ConfigSeen(path=named, config=None, problems=unreadable.problems)
    is_out_of_sight = not environ.get("CREDENTIALS_DIRECTORY") and is_whole_with_a_key(path, environ)
    return ConfigSeen(path=named, config=seen, problems=problems, is_key_out_of_sight=is_out_of_sight)


def is_whole_with_a_key(path: Path | None, environ: Mapping[str, str]) -> bool:
    try:
        load(path, {**environ, **PLACEHOLDER})
    except ConfigError:
        return False
    return True


def judge_config(seen: ConfigSeen, *, is_daemon_there: bool) -> Check:
    """A daemon that answers has a key. Pure."""
    if not seen.problems:
        return ok(NAME, f"{seen.path}: valid")
    if seen.is_key_out_of_sight:
        judge = warning if is_daemon_there else failed
        return judge(NAME, f"{seen.path}: {OUT_OF_SIGHT}", OUT_OF_SIGHT_FIX)
    told = "; ".join(f"{problem.what} ({problem.where})" for problem in seen.problems)
    return failed(NAME, told, "; ".join(dict.fromkeys(problem.fix for problem in seen.problems)))
