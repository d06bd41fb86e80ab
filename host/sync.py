"""The drivers without ``await``, for scripts and notebooks.

::

    import quantacore.host.sync

    with quantacore.host.sync.connect("virtual:") as node:
        node.tagger.run()

The same objects as in :mod:`quantacore.host.driver`, each behind a proxy: what is awaited there
is called here. An event loop in a thread of its own does the work (and keeps the session alive).
"""

import asyncio
import inspect
import threading

from quantacore.host.driver.link import Driver
from quantacore.host.driver.node import Node

__all__ = ["connect", "Proxy"]


class _Worker:
    """An event loop in a thread."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="quantacore link",
                                       daemon=True)
        self.thread.start()

    def call(self, function, *args, **kwargs):
        """Run a function there, and await what it returns if that can be awaited."""
        if self.loop.is_closed():
            raise RuntimeError("The connection is closed; connect again")
        if threading.current_thread() is self.thread:
            raise RuntimeError("Don't call the synchronous drivers from the link's own thread")

        async def shim():
            result = function(*args, **kwargs)
            return await result if inspect.isawaitable(result) else result

        future = asyncio.run_coroutine_threadsafe(shim(), self.loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # interrupted from the keyboard: give the request up
            raise

    def stop(self):
        if self.loop.is_closed():
            return
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


def _wrap(worker, value):
    if isinstance(value, Driver):
        return Proxy(worker, value)
    if isinstance(value, list | tuple) and any(isinstance(item, Driver) for item in value):
        return type(value)(_wrap(worker, item) for item in value)
    return value


class Proxy:
    """A driver whose coroutines are plain methods."""

    def __init__(self, worker, driver):
        object.__setattr__(self, "_worker", worker)
        object.__setattr__(self, "_driver", driver)

    def __getattr__(self, name):
        value = getattr(self._driver, name)
        if callable(value) and not isinstance(value, type | Driver):
            def method(*args, **kwargs):
                return _wrap(self._worker, self._worker.call(value, *args, **kwargs))

            method.__name__ = name
            method.__doc__ = value.__doc__
            return method
        return _wrap(self._worker, value)

    def __setattr__(self, name, value):
        setattr(self._driver, name, value)

    def __dir__(self):
        return dir(self._driver)

    def __repr__(self):
        return repr(self._driver)

    def __len__(self):
        return len(self._driver)

    def __bool__(self):
        return True

    def __getitem__(self, index):
        return _wrap(self._worker, self._driver[index])

    def __iter__(self):
        if hasattr(self._driver, "__aiter__"):
            while True:
                try:
                    yield self._worker.call(self._driver.__anext__)
                except StopAsyncIteration:
                    return
        else:
            for item in self._driver:
                yield _wrap(self._worker, item)

    def __enter__(self):
        return _wrap(self._worker, self._worker.call(self._driver.__aenter__))

    def __exit__(self, *exception):
        return self._worker.call(self._driver.__aexit__, *exception)


class _NodeProxy(Proxy):
    """The node: closing it ends the thread."""

    def close(self):
        """Close session, transport and thread. May be called twice."""
        if not self._worker.loop.is_closed():
            try:
                self._worker.call(self._driver.close)
            finally:
                self._worker.stop()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()


def connect(transport, **options):
    """Connect to a node; the same arguments as
    :meth:`~quantacore.host.driver.node.Node.connect`."""
    worker = _Worker()
    try:
        return _NodeProxy(worker, worker.call(Node.connect, transport, **options))
    except BaseException:
        worker.stop()
        raise
