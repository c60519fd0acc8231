"""The sockets that apps and operators reach us by, and who may come in."""

from cio_buffer.server.doors import Answer, Server
from cio_buffer.server.sockets import find_users, tls_context

__all__ = ["Answer", "Server", "find_users", "tls_context"]
