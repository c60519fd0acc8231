"""Who is at a path or a port."""

import socket
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from cio_buffer.doctor.sockets import see_port, see_socket


@pytest.fixture
def folder():
    """Not pytest's: a socket's path may have 107 characters at most."""
    with tempfile.TemporaryDirectory(prefix="cio-") as folder:
        yield Path(folder)


def bound(path):
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    return sock


def test_nothing_is_there_and_one_can_be_made(folder):
    seen = see_socket(folder / "deeper" / "api.sock")
    assert (seen.kind, seen.folder, seen.may_make) == ("nothing", str(folder), True)
    assert not (folder / "deeper").exists()


def test_a_leftover_is_told_from_one_that_is_served(folder):
    bound(folder / "left.sock").close()
    with bound(folder / "served.sock") as served:
        served.listen()
        assert see_socket(folder / "served.sock").kind == "answered"
    assert see_socket(folder / "left.sock").kind == "leftover"
    assert (folder / "left.sock").exists()


def test_a_file_is_no_socket(folder):
    (folder / "api.sock").touch()
    assert see_socket(folder / "api.sock").kind == "no socket"


def test_a_path_that_no_socket_can_have_is_measured(folder):
    seen = see_socket(folder / ("x" * 300))
    assert (seen.kind, seen.bytes) == ("nothing", len(str(folder)) + 301)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_port_is_free_again_after_it_was_looked_at():
    port = free_port()
    for _ in range(2):
        seen = see_port("127.0.0.1", port)
        assert (seen.is_held, seen.problem) == (False, "")


@pytest.mark.parametrize(
    ("status", "body", "is_ours"),
    [
        (200, b'{"status":"ok"}', True),
        (503, b'{"error":"store_stuck","detail":"x","hint":"y"}', True),
        (200, b"<html>", False),
        (404, b"", False),
    ],
)
def test_who_holds_a_port_is_asked(status, body, is_ours):
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            seen = see_port("127.0.0.1", server.server_port)
        finally:
            server.shutdown()
            thread.join()
    assert (seen.is_held, seen.is_ours, asked) == (True, is_ours, ["/healthz"])


def test_an_address_of_another_machine_cannot_be_opened():
    assert see_port("192.0.2.1", 80).problem
