"""A pretend Customer.io, written from the API's description alone: it shares no code with what it is to judge."""

from cio_buffer.sandbox.app import Sandbox
from cio_buffer.sandbox.app_ledger import AppLedger, AppRequest
from cio_buffer.sandbox.faults import Faults
from cio_buffer.sandbox.ledger import Ledger

__all__ = ["AppLedger", "AppRequest", "Faults", "Ledger", "Sandbox"]
