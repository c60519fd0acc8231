"""How large and how long each benchmark is."""

from msgspec import Struct


class Plan(Struct, frozen=True, kw_only=True):
    """The defaults are the sizes that the goals name. `rounds` of a benchmark are interleaved with its floor's."""

    accept_rounds: int = 7
    accept_round_s: float = 5.0
    connections: int = 64
    store_pending: tuple[int, ...] = (1_000, 100_000, 1_000_000, 5_000_000)
    store_rounds: int = 15
    pending_entries: int = 1_000_000
    memory_load_s: float = 20.0
    start_rounds: int = 5
    drain_rounds: int = 5
    drain_entries: int = 400_000
    small_batch_entries: int = 40_000
    trace_logged: tuple[int, ...] = (1_000_000, 40_000_000)
    trace_singles: int = 1_000_000
    trace_rounds: int = 15
    letters: int = 100_000
    replay_usual_s: float = 15.0
    lone_operations: int = 100
    sends: int = 3_000
    attached_sends: int = 100


QUICK = Plan(
    accept_rounds=3,
    accept_round_s=2.0,
    store_pending=(1_000, 50_000, 500_000),
    store_rounds=5,
    pending_entries=200_000,
    memory_load_s=5.0,
    start_rounds=3,
    drain_rounds=3,
    drain_entries=100_000,
    small_batch_entries=20_000,
    trace_logged=(1_000_000,),
    trace_singles=200_000,
    trace_rounds=5,
    letters=20_000,
    replay_usual_s=5.0,
    lone_operations=50,
    sends=500,
    attached_sends=20,
)
