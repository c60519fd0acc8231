"""Every key: its type, its bounds, its default. Units are in the names; `config.example.toml` explains each key."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from cio_buffer.config.addresses import Address, parse_http_address
from cio_buffer.config.secret import Secret

INT64_MAX = 9_223_372_036_854_775_807
DAY_S = 86_400.0
BYTES_MIN = 67_108_864  # an empty store with the WAL that it keeps takes a quarter of this
DEAD_BYTES_MIN = 1_048_576  # with less, a dead letter might be gone before anybody can look at it
SOCKET_PATH_MAX_BYTES = 107  # sun_path in unix(7) holds 108 bytes, the last of them a NUL

Path = Annotated[str, Meta(pattern=r"\A[^\0]+\Z", description="a path")]
PathOrOff = Annotated[str, Meta(pattern=r"\A[^\0]*\Z", description='a path, or "" for none')]
FileName = Annotated[str, Meta(pattern=r"\A[^\0/]*\Z", description='a file name without "/"')]
Octal = Annotated[str, Meta(pattern=r"\A0?[0-7]{3}\Z", description='permissions in octal, such as "0660"')]
USER = r" *[A-Za-z0-9_.@$-]+ *"
Users = Annotated[
    str,
    Meta(pattern=rf"\A(?:{USER}(?:,{USER})*)?\Z", description="user names or numbers in one text, with commas between"),
]
SiteId = Annotated[str, Meta(pattern=r"\A[!-9;-~]*\Z", description='printable ASCII without spaces and ":"')]

Count = Annotated[int, Meta(ge=1, le=65_535)]
Timeout = Annotated[float, Meta(gt=0, le=3_600)]
Backoff = Annotated[float, Meta(gt=0, le=DAY_S)]
Age = Annotated[float, Meta(ge=0, le=3_650 * DAY_S)]
Size = Annotated[int, Meta(ge=0, le=INT64_MAX)]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file."""


class Listen(Section, frozen=True, kw_only=True):
    """Where apps reach the daemon, and who may. An empty path or address is off; at least one is on.

    `load` puts the local key, a key that only we know, into `local_key`; it is empty where there is none.
    """

    unix_path: PathOrOff = "/run/cio-buffer/api.sock"
    unix_mode: Octal = "0660"
    unix_group: str = ""
    unix_users: Users = ""
    http_address: str = "127.0.0.1:8246"
    https_address: str = ""
    tls_cert_file: PathOrOff = ""
    tls_key_file: PathOrOff = ""
    callers: Literal["key", "site_id", "none"] = "key"
    local_key: Secret = Secret("")
    local_key_credential: FileName = ""
    local_key_file: PathOrOff = ""
    local_key_env: str = ""
    connections_max: Count = 512
    body_max_bytes: Annotated[int, Meta(ge=1, le=1_073_741_824)] = 8_388_608

    def unix_mode_bits(self) -> int:
        """`unix_mode` as `os.chmod` wants it."""
        return int(self.unix_mode, 8)

    def unix_user_names(self) -> tuple[str, ...]:
        """`unix_users` one by one, each a name or a number, not looked up; none means that nobody is turned away."""
        return tuple(user.strip() for user in self.unix_users.split(",")) if self.unix_users else ()

    def http(self) -> Address | None:
        """`http_address` taken apart; None when it is off."""
        return parse_http_address(self.http_address) if self.http_address else None

    def https(self) -> Address | None:
        """`https_address` taken apart; None when it is off. When it is on, both files of the certificate are named."""
        return parse_http_address(self.https_address) if self.https_address else None


class Admin(Section, frozen=True, kw_only=True):
    """Where operators reach the daemon."""

    unix_path: Path = "/run/cio-buffer/admin.sock"
    show_payloads: bool = False


class Upstream(Section, frozen=True, kw_only=True):
    """Which workspace, and with which keys.

    `load` puts each key into `track_api_key`, `track_api_key_previous` and `app_api_key`, whatever form named it; the
    last two are empty where there is none.
    """

    region: Literal["us", "eu"] = "us"
    track_url: str = ""
    app_url: str = ""
    site_id: SiteId = ""
    track_api_key: Secret = Secret("")
    track_api_key_credential: FileName = "track_api_key"
    track_api_key_file: PathOrOff = ""
    track_api_key_env: str = ""
    track_api_key_previous: Secret = Secret("")
    track_api_key_previous_credential: FileName = ""
    track_api_key_previous_file: PathOrOff = ""
    track_api_key_previous_env: str = ""
    app_api_key: Secret = Secret("")
    app_api_key_credential: FileName = "app_api_key"
    app_api_key_file: PathOrOff = ""
    app_api_key_env: str = ""
    identifiers: Literal["shape", "id", "v1"] = "shape"
    anonymous: Literal["v2", "v1"] = "v2"
    connect_timeout_s: Timeout = 5.0
    request_timeout_s: Timeout = 30.0
    passthrough_timeout_s: Timeout = 9.0


class Outbox(Section, frozen=True, kw_only=True):
    """The file that holds what is not delivered yet, how large it may grow, and what it keeps of what is over."""

    path: Path = "/var/lib/cio-buffer/outbox.db"
    bytes_max: Annotated[int, Meta(ge=BYTES_MIN, le=INT64_MAX)] = 4_294_967_296
    disk_free_min_bytes: Size = 268_435_456
    ballast_bytes: Size = 67_108_864
    keep_log_for_s: Age = DAY_S
    keep_log_bytes: Size = 268_435_456
    keep_dead_for_s: Annotated[float, Meta(gt=0, le=3_650 * DAY_S)] = 30 * DAY_S
    keep_dead_bytes: Annotated[int, Meta(ge=DEAD_BYTES_MIN, le=INT64_MAX)] = 268_435_456


class Drain(Section, frozen=True, kw_only=True):
    """How fast the outbox is emptied. The upper bounds of a batch are the Track API's own."""

    rate_max_per_s: Annotated[float, Meta(gt=0, le=10_000)] = 100.0
    requests_in_flight_max: Annotated[int, Meta(ge=1, le=1_000)] = 16
    batch_max_bytes: Annotated[int, Meta(ge=1, le=500_000)] = 500_000
    batch_max_entries: Annotated[int, Meta(ge=1, le=1_000)] = 1_000
    batch_linger_s: Annotated[float, Meta(ge=0, le=60)] = 0.05
    batch_same_lane: bool = True
    at_stop_for_s: Annotated[float, Meta(ge=0, le=3_600)] = 10.0


class Retry(Section, frozen=True, kw_only=True):
    """How long to wait between attempts, and when to stop trying (0: never)."""

    backoff_first_s: Backoff = 1.0
    backoff_max_s: Backoff = 300.0
    keep_trying_for_s: Age = 0.0


class Log(Section, frozen=True, kw_only=True):
    """What the daemon says, and in which form."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"


class Config(Section, frozen=True, kw_only=True):
    """All of it. A Config that `load` returned has passed every check."""

    listen: Listen = Listen()
    admin: Admin = Admin()
    upstream: Upstream = Upstream()
    outbox: Outbox = Outbox()
    drain: Drain = Drain()
    retry: Retry = Retry()
    log: Log = Log()


SECTIONS: dict[str, type[Section]] = {field.name: field.type for field in msgspec.structs.fields(Config)}
FIELDS: dict[str, dict[str, msgspec.structs.FieldInfo]] = {
    name: {field.name: field for field in msgspec.structs.fields(section)} for name, section in SECTIONS.items()
}
