"""What an operator decides: one TOML file and the environment become one frozen `Config`, or a list of every mistake.

`load` is the way in; `keys.py` has every key with its default and its bounds.
"""

from cio_buffer.config.addresses import Address, parse_http_address
from cio_buffer.config.keys import Admin, Config, Drain, Listen, Log, Outbox, Retry, Upstream
from cio_buffer.config.loading import find, glance, load
from cio_buffer.config.problems import ConfigError, Problem, render
from cio_buffer.config.secret import Secret

__all__ = [
    "Address",
    "Admin",
    "Config",
    "ConfigError",
    "Drain",
    "Listen",
    "Log",
    "Outbox",
    "Problem",
    "Retry",
    "Secret",
    "Upstream",
    "find",
    "glance",
    "load",
    "parse_http_address",
    "render",
]
