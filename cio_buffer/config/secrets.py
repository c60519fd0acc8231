"""The secrets among the keys: what each is for, and the four forms in which it may be given."""

import msgspec

from cio_buffer.config.sources import Name


class SecretSetting(msgspec.Struct, frozen=True, kw_only=True):
    """One secret. `load` leaves it in `key`, whatever form named it; one that is not required may be empty there.

    Only where the setting `url` points at this machine may the secret itself be written into the config.
    """

    section: str
    key: str
    called: str
    why: str  # what is lost without it
    url: Name
    is_required: bool = False

    @property
    def file(self) -> str:
        """The form that names a file."""
        return f"{self.key}_file"

    @property
    def env(self) -> str:
        """The form that names an environment variable."""
        return f"{self.key}_env"

    @property
    def credential(self) -> str:
        """The form that names a systemd credential; the only one that may have a default."""
        return f"{self.key}_credential"

    @property
    def names(self) -> tuple[Name, ...]:
        """The four forms as settings; the secret itself is the first."""
        return tuple((self.section, form) for form in (self.key, self.file, self.env, self.credential))


TRACK_KEY = SecretSetting(
    section="upstream",
    key="track_api_key",
    called="Track API key",
    why="Customer.io takes nothing without it",
    url=("upstream", "track_url"),
    is_required=True,
)
TRACK_KEY_PREVIOUS = SecretSetting(
    section="upstream",
    key="track_api_key_previous",
    called="previous Track API key",
    why="apps that still show it would be turned away",
    url=("upstream", "track_url"),
)
APP_KEY = SecretSetting(
    section="upstream",
    key="app_api_key",
    called="App API key",
    why="apps that have none of their own could not call the App API",
    url=("upstream", "app_url"),
)
LOCAL_KEY = SecretSetting(
    section="listen",
    key="local_key",
    called="local key",
    why="apps that show it would be turned away",
    url=("upstream", "track_url"),
)
SECRETS = (TRACK_KEY, TRACK_KEY_PREVIOUS, APP_KEY, LOCAL_KEY)

HIDDEN: frozenset[Name] = frozenset(name for secret in SECRETS for name in (*secret.names, secret.url))
"""Settings whose values no message repeats: a key may be pasted into the wrong form, and a URL may hold a password."""
