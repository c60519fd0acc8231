"""What differs between the config that runs and one that was read later. Pure; says names, never values."""

from cio_buffer.config.keys import FIELDS, Config
from cio_buffer.config.secrets import SECRETS
from cio_buffer.config.sources import Name

EVERY = frozenset((section, key) for section, keys in FIELDS.items() for key in keys)
KEYS = frozenset((secret.section, secret.key) for secret in SECRETS)
FORMS = frozenset(name for secret in SECRETS for name in secret.names)
"""The keys, and whatever says where they are: what `load` found there is in the keys themselves."""

ADDRESSEE = frozenset(("upstream", key) for key in ("site_id", "region", "track_url", "app_url"))
"""Whom the keys are for. Those of another workspace must not be shown to this one."""


def changed_keys(before: Config, after: Config) -> list[str]:
    """The secrets that are others now."""
    return changed_among(KEYS, before, after)


def changed_addressee(before: Config, after: Config) -> list[str]:
    """What says that the keys of `after` are for somebody else than those of `before`."""
    return changed_among(ADDRESSEE, before, after)


def changed_settings(before: Config, after: Config) -> list[str]:
    """All that differs beside the secrets: what only a restart changes."""
    return changed_among(EVERY - FORMS, before, after)


def changed_among(names: frozenset[Name], before: Config, after: Config) -> list[str]:
    return sorted(".".join(name) for name in names if setting(before, name) != setting(after, name))


def setting(config: Config, name: Name) -> object:
    section, key = name
    value: object = getattr(getattr(config, section), key)
    return value
