"""What a caller of Track v1 sends → entries, in v2's words wherever v2 can say it.

What v2 cannot say, and whatever is in doubt, is kept as the v1 call that it was, with the stamps that it lacks.
"""

from cio_buffer.ingest.track_v1.call import Mapping, V1Call, read_person
from cio_buffer.ingest.track_v1.calls import find_call

__all__ = ["Mapping", "V1Call", "find_call", "read_person"]
