"""A virtual node that runs by itself, in a thread of its own, for whoever talks to it."""

import logging
import threading
import time
from concurrent.futures import Future

from quantacore.sim.node.engine import EngineFailed, Stop

__all__ = ["LiveNode"]

_log = logging.getLogger(__name__)

#: Ticks between looks at the inbox: about a millisecond.
_CHUNK_TICKS = 4096
#: An answer is handed over when the line has been silent for so long.
_FLUSH_TICKS = 4
_STATUS_S = 0.1


class LiveNode:
    """Runs an engine in a thread and passes bytes between it and other threads.

    Simulated time goes at full speed while a source or reference has edges to come or bytes are
    on their way; otherwise it stands, and goes on for ``quiet_ticks`` after each byte from the
    host. When the host does not take its bytes, ``engine.stall`` decides.

    Parameters
    ----------
    engine : Engine
        Belongs to this object from here on; :meth:`stop` closes it.
    quiet_ticks : int or None
        How long the node goes on after the last byte on the line (default: 65 536, more for a
        slow UART).
    room : int
        Bytes held for the host here, beside those that the engine holds.
    paused : bool
        Time stands until :meth:`resume`.
    """

    def __init__(self, engine, *, quiet_ticks=None, room=1 << 16, paused=False):
        self.engine = engine
        self.quiet_ticks = quiet_ticks or 1 << 16
        self._room = room
        self._paused = paused
        self._inbox = bytearray()
        self._outbox = bytearray()
        self._calls = []
        self._forget = False
        self._stopping = False
        self._error = None
        self._changed = threading.Condition()
        self._listener = None
        self._status = {**engine.statistics, "cycles_per_s": 0.0}
        self._thread = threading.Thread(target=self._run, name="virtual-node", daemon=True)

    # -- from any thread ----------------------------------------------------------------------

    def start(self, listener=None):
        """Begin. ``listener()`` is called in the engine's thread when bytes arrive or it ends."""
        self._listener = listener
        self._thread.start()
        return self

    def stop(self):
        """End the thread and close the engine. May be called twice."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join()
        self.engine.close()

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc):
        self.stop()

    def pause(self):
        """Let simulated time stand, and forget bytes that were on their way to the host."""
        with self._changed:
            self._paused = self._forget = True
            self._outbox.clear()
            self._changed.notify_all()

    def resume(self):
        """Let simulated time go on."""
        with self._changed:
            self._paused = False
            self._changed.notify_all()

    def send(self, data):
        """Bytes from the host."""
        with self._changed:
            self._inbox += data
            self._changed.notify_all()

    def take(self, limit=1 << 16):
        """Bytes for the host that are there; does not wait.

        Raises
        ------
        EngineFailed
            The node has ended and everything it sent has been taken.
        """
        with self._changed:
            data = bytes(self._outbox[:limit])
            if data:
                del self._outbox[:limit]
                self._changed.notify_all()
            elif self._error is not None:
                raise EngineFailed(f"The virtual node has ended: {self._error}") \
                    from self._error
            return data

    @property
    def waiting(self):
        """Bytes that wait in :meth:`take`."""
        with self._changed:
            return len(self._outbox)

    def wait(self, timeout=None):
        """Wait until there are bytes to take or the node has ended; whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: self._outbox or self._error or self._stopping,
                                          timeout)

    def call(self, function):
        """Run ``function(engine)`` in the engine's thread and return a Future of its result."""
        future = Future()
        with self._changed:
            if self._stopping or self._error is not None:
                future.set_exception(EngineFailed("The virtual node has ended"))
            else:
                self._calls.append((function, future))
                self._changed.notify_all()
        return future

    @property
    def status(self):
        """The engine's statistics of a moment ago, and ``cycles_per_s`` of wall clock while it
        was not waiting."""
        return self._status

    # -- the engine's thread ------------------------------------------------------------------

    def _has_work(self):
        return bool(self._inbox or self._calls or self._forget) or self._goes_on()

    def _goes_on(self):
        if self._paused:
            return False
        engine = self.engine
        if len(self._outbox) >= self._room:
            return engine.stall == "line"
        return bool(engine.available or engine.unsent or engine.edges_to_come
                    or engine.silent_ticks < self.quiet_ticks)

    def _run(self):
        try:
            self._loop()
        except Exception as error:
            _log.error("the virtual node has ended: %s", error)
            with self._changed:
                self._error = error
                self._changed.notify_all()
        finally:
            with self._changed:
                calls, self._calls = self._calls, []
            for _, future in calls:
                future.set_exception(EngineFailed("The virtual node has ended"))
            if self._listener:
                self._listener()

    def _loop(self):
        engine = self.engine
        mark, begun = engine.tick, time.perf_counter()
        while True:
            with self._changed:
                if not self._has_work() and not self._stopping:
                    self._publish(mark, begun)
                    self._changed.wait_for(lambda: self._stopping or self._has_work())
                    mark, begun = engine.tick, time.perf_counter()
                if self._stopping:
                    return
                data = bytes(self._inbox)
                self._inbox.clear()
                calls, self._calls = self._calls, []
                room = self._room - len(self._outbox)
                paused, forget = self._paused, self._forget
                self._forget = False
            for function, future in calls:
                try:
                    future.set_result(function(engine))
                except Exception as error:
                    future.set_exception(error)
            if data:
                engine.send(data)
            if forget:
                engine.receive()
            if paused or not self._goes_on():
                continue
            quiet = 0 if engine.edges_to_come else self.quiet_ticks
            reason = engine.advance(_CHUNK_TICKS, flush=_FLUSH_TICKS, quiet=quiet)
            output = engine.receive(room) if room > 0 else b""
            if output:
                with self._changed:
                    if not self._paused:
                        self._outbox += output
                    self._changed.notify_all()
                if self._listener:
                    self._listener()
            elif reason == Stop.OUTPUT and room <= 0:
                # Bytes wait and the host has no room: only a stalled line lets time go on.
                engine.advance(_CHUNK_TICKS)
            if time.perf_counter() - begun > _STATUS_S:
                self._publish(mark, begun)
                mark, begun = engine.tick, time.perf_counter()

    def _publish(self, mark, begun):
        passed = time.perf_counter() - begun
        ticks = self.engine.tick - mark
        speed = ticks / passed if ticks and passed > 0 else self._status["cycles_per_s"]
        self._status = {**self.engine.statistics, "cycles_per_s": speed}
