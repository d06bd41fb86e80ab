"""A golden node for host code: behind a transport, and with time that does not pass.

Nothing here is timed by the clock on the wall: a simulated second costs nothing, and waiting for
what can never come is an error at once instead of a hang.
"""

import asyncio
import selectors

from quantacore.host.transport.pipe import PipeTransport
from quantacore.sim.golden.endpoint import GoldenEndpoint

__all__ = ["SimulatedTimeLoop", "run_in_simulated_time", "GoldenTransport"]


class _SkippingSelector(selectors.DefaultSelector):
    """Where an event loop would sleep, its clock jumps."""

    def __init__(self):
        super().__init__()
        self.now = 0.0

    def select(self, timeout=None):
        events = super().select(0)
        if not events:
            if timeout is None:
                raise RuntimeError("Everything waits and nothing can come: this is a hang")
            self.now += timeout
        return events


class SimulatedTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock stands still while there is work and jumps when there is none.

    For programs that wait for one another and for timers, not for other processes or threads.
    """

    def __init__(self):
        self._skipping = _SkippingSelector()
        super().__init__(self._skipping)

    def time(self):
        return self._skipping.now


def run_in_simulated_time(coroutine):
    """Like :func:`asyncio.run`; give back what the coroutine returns."""
    with asyncio.Runner(loop_factory=SimulatedTimeLoop) as runner:
        return runner.run(coroutine)


class GoldenTransport(PipeTransport):
    """A transport to a golden endpoint.

    Parameters
    ----------
    endpoint : GoldenEndpoint or None
        A new one by default. Several transports may share one, as hosts share a node.
    """

    def __init__(self, endpoint=None):
        self.endpoint = GoldenEndpoint() if endpoint is None else endpoint
        super().__init__(self.endpoint.feed, name="golden")

    def push_records(self, records):
        """Let the node record something; return how many records its ring took."""
        taken = self.endpoint.push_records(records)
        self.push(self.endpoint.poll())
        return taken
