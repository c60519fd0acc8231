"""Where the Track API key is: a systemd credential, a file, an environment variable, or (for tests) the config."""

from collections.abc import Callable, Mapping
from pathlib import Path

from cio_buffer.config.addresses import is_loopback, parse_url
from cio_buffer.config.keys import Upstream
from cio_buffer.config.reading import Finding
from cio_buffer.config.secret import Secret

KEY = "track_api_key"
CREDENTIAL, FILE, ENV = f"{KEY}_credential", f"{KEY}_file", f"{KEY}_env"
DEFAULT_CREDENTIAL = Upstream().track_api_key_credential
WHY = "Customer.io takes nothing without it"


_DEPENDS_ON = {KEY: ("track_url",), CREDENTIAL: (KEY, FILE, ENV)}
"""The credential is what remains when the others are not set, perhaps for a typing mistake in one of them."""


class _NoKey(Exception):
    """Why there is no key, and what to do about it."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(what)
        self.fix = fix


def resolve(upstream: Upstream, environ: Mapping[str, str]) -> Secret | Finding:
    """Fetch the key in the one form that is set.

    A message names the form, never what is written there: a key pasted into the wrong place must not show in a log.
    """
    forms = _forms_set(upstream)
    if len(forms) > 1:
        return Finding(
            names=tuple(("upstream", form) for form in forms),
            what=f"the Track API key is set in {len(forms)} ways: {', '.join(forms)}",
            why="only one of them can be right, and the daemon does not choose",
            fix="keep one of them",
        )
    try:
        return _checked(_READERS[forms[0]](upstream, environ), forms[0])
    except _NoKey as reason:
        names = (forms[0], *_DEPENDS_ON.get(forms[0], ()))
        return Finding(names=tuple(("upstream", name) for name in names), what=str(reason), why=WHY, fix=reason.fix)


def _forms_set(upstream: Upstream) -> list[str]:
    """The forms in use. The default credential counts only when there is no other."""
    forms = [form for form in (KEY, FILE, ENV) if getattr(upstream, form)]
    if upstream.track_api_key_credential not in ("", DEFAULT_CREDENTIAL):
        forms.append(CREDENTIAL)
    return forms or [CREDENTIAL]


def _literal(upstream: Upstream, _environ: Mapping[str, str]) -> str:
    if not _is_local(upstream.track_url):
        raise _NoKey(
            "track_api_key in [upstream] holds the key itself",
            "put it into a file and name that in track_api_key_file; a literal is for a track_url on this machine",
        )
    return upstream.track_api_key.reveal()


def _is_local(url: str) -> bool:
    try:
        return is_loopback(parse_url(url).hostname or "")
    except ValueError:
        return False


def _from_file(upstream: Upstream, _environ: Mapping[str, str]) -> str:
    return _contents(Path(upstream.track_api_key_file), f"the file that {FILE} names")


def _from_environment(upstream: Upstream, environ: Mapping[str, str]) -> str:
    return environ.get(upstream.track_api_key_env, "")


def _from_credential(upstream: Upstream, environ: Mapping[str, str]) -> str:
    directory, name = environ.get("CREDENTIALS_DIRECTORY"), upstream.track_api_key_credential
    if not directory or not name:
        raise _NoKey(
            "there is no Track API key: no form of it is set, and systemd passes no credential",
            f"set {FILE} or {ENV} in [upstream], or LoadCredential={DEFAULT_CREDENTIAL}:/a/file in the systemd unit",
        )
    return _contents(Path(directory) / name, f"the systemd credential that {CREDENTIAL} names")


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


_READERS: dict[str, Callable[[Upstream, Mapping[str, str]], str]] = {
    KEY: _literal,
    FILE: _from_file,
    ENV: _from_environment,
    CREDENTIAL: _from_credential,
}
