"""Forwards an App API call once, and gives back the answer that it got: not stored, not sent twice, not logged."""

from cio_buffer.passthrough.forwarding import MAIL_UNKNOWN, Passthrough
from cio_buffer.passthrough.routes import APP_ROOT, AppRoutes

__all__ = ["APP_ROOT", "MAIL_UNKNOWN", "AppRoutes", "Passthrough"]
