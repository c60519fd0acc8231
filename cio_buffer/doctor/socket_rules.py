"""What is to be thought of the doors. Pure."""

from cio_buffer.admin.status import Status
from cio_buffer.admin.warnings import about_the_store
from cio_buffer.config.keys import SOCKET_PATH_MAX_BYTES
from cio_buffer.doctor.findings import Check, failed, ok, warning
from cio_buffer.doctor.sockets import PortSeen, SocketSeen


def judge_socket(name: str, key: str, seen: SocketSeen) -> Check:
    """`key`: which setting says where it is."""
    if seen.bytes > SOCKET_PATH_MAX_BYTES:
        return failed(
            name,
            f"{seen.path} has {seen.bytes} bytes, and a socket's path may have {SOCKET_PATH_MAX_BYTES}",
            f"choose a shorter {key}",
        )
    if seen.kind == "no socket":
        return failed(name, f"{seen.path} is there, and is no socket", f"move it away, or change {key}")
    if seen.kind == "silent":
        return failed(name, f"somebody has {seen.path}, and does not answer", "see whether the daemon is stuck: status")
    if seen.kind == "answered":
        return ok(name, f"somebody answers at {seen.path}")
    if seen.kind == "not ours to ask":
        return warning(name, f"this user may not ask at {seen.path}", "run this as the user that the daemon runs as")
    if not seen.may_make:
        return failed(
            name,
            f"{seen.path} cannot be made by this user in {seen.folder}",
            f"run this as the user that the daemon runs as; if it is, give it that folder, or change {key}",
        )
    if seen.kind == "leftover":
        return warning(
            name, f"{seen.path} is left from a daemon that was killed", "nothing: the next start takes its place"
        )
    return ok(name, f"{seen.path} can be made")


def judge_port(name: str, key: str, seen: PortSeen) -> Check:
    if seen.problem:
        return failed(name, f"{seen.address} cannot be opened: {seen.problem}", f"change {key}")
    if not seen.is_held:
        return ok(name, f"{seen.address} is free")
    if seen.is_ours:
        return ok(name, f"a running daemon has {seen.address}")
    return failed(name, f"somebody else has {seen.address}", f"see who (ss -ltnp), or change {key}")


def judge_known(name: str, key: str, what: str, unknown: str) -> Check:
    """A group, or users. `unknown`: who of them is not known, in words."""
    if unknown:
        return failed(name, f"{unknown}: the daemon would not start", f"make it, or mend {key}")
    return ok(name, what or "none is named")


def judge_daemon(seen: Status | None, problem: str, path: str) -> Check:
    """`problem`: why nobody told how it is."""
    if seen is None:
        return warning("daemon", f"no daemon answers at {path} ({problem})", "start it with: cio-buffer run")
    if seen.state == "ready":
        return ok("daemon", f"ready, version {seen.version}, at {path}")
    told = seen.state + (f" ({', '.join(seen.reasons)})" if seen.reasons else "")
    judge = failed if seen.state == "refusing" else warning
    return judge("daemon", f"{told}, at {path}", "cio-buffer status says more")


def judge_its_store(seen: Status) -> Check:
    troubles = [*about_the_store(seen.outbox)]
    if not seen.ledger.balanced:
        troubles.append("the ledger does not agree with a real count")
    if seen.outbox.errors and not troubles:
        errors = ", ".join(f"{count:,} x {doing}" for doing, count in sorted(seen.outbox.errors.items()))
        troubles.append(f"the disk failed since the start ({errors}), and does not now")
    if troubles:
        return warning("daemon.store", "; ".join(troubles), "cio-buffer status and cio-buffer outbox check say more")
    return ok("daemon.store", "no errors since the start, and the ledger adds up")
