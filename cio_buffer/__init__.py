"""cio_buffer: a local sidecar between an app and Customer.io."""

__version__ = "0.1.0"
