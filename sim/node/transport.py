"""The virtual node as a transport: a node in this process, without a port."""

import asyncio
import sys

from quantacore.host.transport.base import DisconnectedError, Transport, TransportError
from quantacore.sim.node.build import BuildError, BuildProgress
from quantacore.sim.node.engine import Engine, EngineFailed
from quantacore.sim.node.live import LiveNode
from quantacore.sim.node.options import node_options
from quantacore.sim.node.verilate import ToolMissing

__all__ = ["VirtualTransport"]


class VirtualTransport(Transport):
    """A Verilated node in this process, in a thread of its own.

    ``virtual:?samples=4&channels=2&source=poisson:1e6,ch0;poisson:1e5,ch1&seed=3`` is what
    ``VirtualTransport(samples=4, channels=2, source="poisson:1e6,ch0;poisson:1e5,ch1", seed=3)``
    is. Values may be text; :func:`quantacore.sim.node.options.node_options` lists the options.

    Parameters
    ----------
    config : NodeConfig or None
        Which node; if given, the options that make one must not be.
    sources : sequence of Source or str
        In addition to ``source``.
    live_options : dict or None
        For :class:`~quantacore.sim.node.live.LiveNode`.
    progress : BuildProgress or None
        Told about the build; by default shown if standard error is a terminal.
    options
        See above.
    """

    def __init__(self, *, config=None, sources=(), live_options=None, progress=None, **options):
        self._options = node_options(config=config, sources=sources, **options)
        self._progress = progress
        self._live_options = live_options or {}
        self._live = None
        self._loop = None
        self._waiter = None
        shown = "&".join(f"{name}={value}" for name, value in options.items())
        self.url = f"virtual:?{shown}" if shown else "virtual:"

    async def open(self):
        if self._live is not None:
            return
        progress = self._progress
        if progress is None and sys.stderr.isatty():
            progress = BuildProgress.rich()
        try:
            # The first time this compiles for a minute or so: keep the loop free.
            engine = await asyncio.to_thread(Engine, progress=progress, **self._options)
        except (ToolMissing, BuildError) as error:
            raise TransportError(str(error)) from error
        self._loop = asyncio.get_running_loop()
        self._live = LiveNode(engine, **self._live_options).start(self._listen)

    async def close(self):
        live, self._live = self._live, None
        if live is not None:
            await asyncio.to_thread(live.stop)
            self._wake()

    def _listen(self):
        try:
            self._loop.call_soon_threadsafe(self._wake)
        except RuntimeError:
            pass  # the loop is closed, and nobody reads

    def _wake(self):
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _open(self):
        if self._live is None:
            raise DisconnectedError(f"{self.url} is closed")
        return self._live

    async def read(self, limit=65536):
        while True:
            # The waiter is there before the look, so bytes that come between are not missed.
            waiter = self._waiter = asyncio.get_running_loop().create_future()
            try:
                data = self._open().take(limit)
            except EngineFailed as error:
                raise DisconnectedError(str(error)) from error
            if data:
                self._waiter = None
                return data
            await waiter

    async def write(self, data):
        self._open().send(data)

    def hint(self):
        return ("the virtual node runs in this process; if its link is a UART, check that both "
                "ends have the same baud rate")

    @property
    def status(self):
        """Statistics of the node; see :attr:`LiveNode.status`."""
        return self._open().status

    async def call(self, function):
        """``function(engine)``, run in the engine's thread between two steps: for tests and
        demonstrations that look at the outputs, reset the node or read exact counts."""
        return await asyncio.wrap_future(self._open().call(function))
