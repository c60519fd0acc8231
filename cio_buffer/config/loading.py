"""From the sources to one checked Config."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from cio_buffer.config import track_key
from cio_buffer.config.checks import check
from cio_buffer.config.keys import Config
from cio_buffer.config.problems import ConfigError, Problem
from cio_buffer.config.reading import Finding, read
from cio_buffer.config.sources import Name, Settings, gather

SYSTEM_PATH = Path("/etc/cio-buffer/config.toml")


def load(path: Path | None, environ: Mapping[str, str]) -> Config:
    """Read and check everything: environment beats file beats defaults, and the Track API key is fetched.

    Raises ConfigError with all problems at once. Reads the file and what holds the key, and touches nothing else.
    """
    settings = gather(path, environ)
    config, misfits = read(settings.given)
    key = track_key.resolve(config.upstream, environ)
    consequences = [*check(config), *([key] if isinstance(key, Finding) else [])]
    findings = [*misfits, *_independent(consequences, misfits)]
    if findings or isinstance(key, Finding):
        raise ConfigError(_placed(finding, settings) for finding in findings)
    return msgspec.structs.replace(config, upstream=msgspec.structs.replace(config.upstream, track_api_key=key))


def glance(path: Path | None, environ: Mapping[str, str]) -> Config:
    """Read without checking, and without the key: enough to find the daemon that runs with it.

    Raises ConfigError where the file cannot be read at all.
    """
    return read(gather(path, environ).given)[0]


def find(flag: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The config file: the flag's, else $CIO_BUFFER_CONFIG, else the system's if there is one."""
    if flag:
        return flag
    if named := environ.get("CIO_BUFFER_CONFIG"):
        return Path(named)
    return SYSTEM_PATH if _may_exist(SYSTEM_PATH) else None


def _may_exist(path: Path) -> bool:
    """True also where we may not look: then `load` says so, instead of running without the file."""
    try:
        return path.exists()
    except PermissionError:
        return True


def _independent(findings: Iterable[Finding], misfits: list[Finding]) -> list[Finding]:
    """Leave out what may only follow from a misfit: "site_id is missing" right after "unknown key site_di"."""
    doubtful: set[Name] = {name for misfit in misfits for name in misfit.names}
    return [one for one in findings if not any(name in doubtful or name[:1] in doubtful for name in one.names)]


def _placed(finding: Finding, settings: Settings) -> Problem:
    return Problem(what=finding.what, where=settings.where(finding.names[0]), why=finding.why, fix=finding.fix)
