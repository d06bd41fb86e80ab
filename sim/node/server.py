"""Serve a virtual node to other programs: as a serial port (pseudo-terminal) or over TCP."""

import contextlib
import errno
import logging
import os
import selectors
import socket
import threading
from pathlib import Path

__all__ = ["NodeServer", "ServeError", "serve"]

_log = logging.getLogger(__name__)
_PIECE = 1 << 16


class ServeError(RuntimeError):
    """The node can't be served as asked; the message says why and what to do."""


class _Pty:
    """A pseudo-terminal: its name is a serial port to every program."""

    def __init__(self, symlink):
        try:
            import pty
            import tty
        except ImportError:
            raise ServeError("This system has no pseudo-terminals; serve over TCP "
                             "(--tcp PORT)") from None
        self.master, self._slave = pty.openpty()
        # Raw, and held open: a port keeps its settings and its bytes between two programs.
        tty.setraw(self._slave)
        os.set_blocking(self.master, False)
        self.path = os.ttyname(self._slave)
        self.symlink = Path(symlink) if symlink else None
        if self.symlink:
            self._link()

    def _link(self):
        path = self.symlink
        if path.is_symlink():
            # One that a server left behind may be replaced, anything else may not.
            path.unlink()
        elif path.exists():
            self.close()
            raise ServeError(f"{path} exists and is not a link; choose another name for "
                             f"--symlink")
        try:
            path.symlink_to(self.path)
        except OSError as error:
            self.symlink = None
            self.close()
            raise ServeError(f"Can't make the link {path}: {error.strerror}") from None

    @property
    def name(self):
        return str(self.symlink or self.path)

    def close(self):
        if self.symlink and self.symlink.is_symlink() and os.readlink(self.symlink) == self.path:
            self.symlink.unlink()
        for number in (self.master, self._slave):
            os.close(number)


class NodeServer:
    """Passes bytes between one host at a time and a :class:`~quantacore.sim.node.live.LiveNode`.

    Over TCP, a second host is refused while the first is connected: its connection is closed and
    the log says why. Simulated time stands while no host is connected. A pseudo-terminal does
    not show whether a program has it open, so there time goes on by the node's own rule.

    Parameters
    ----------
    live : LiveNode
        Not started yet; it is started and stopped here.
    tcp : int or None
        Serve on this port (0: any free one). None: serve a pseudo-terminal.
    address : str
        To listen on.
    symlink : path or None
        A link to the pseudo-terminal, made now and removed at the end.

    Attributes
    ----------
    url : str
        What a host opens.
    """

    def __init__(self, live, *, tcp=None, address="127.0.0.1", symlink=None):
        self.live = live
        self._wake_r, self._wake_w = socket.socketpair()
        for end in (self._wake_r, self._wake_w):
            end.setblocking(False)
        self._stopping = threading.Event()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wake_r, selectors.EVENT_READ)
        self._host = None
        self._peer = ""
        self._out = bytearray()
        #: Connections refused because a host was connected.
        self.refused = 0
        self._pty = self._listener = None
        try:
            if tcp is None:
                self._pty = _Pty(symlink)
                self.url = self._pty.name
                self._host = self._pty.master
                self._selector.register(self._host, selectors.EVENT_READ)
            else:
                self._listen(address, tcp)
        except BaseException:
            self._close()
            raise

    def _listen(self, address, port):
        try:
            self._listener = socket.create_server((address, port))
        except OSError as error:
            hint = "; end the program that has it, or take another --tcp PORT" \
                if error.errno == errno.EADDRINUSE else ""
            raise ServeError(f"Can't listen on {address}:{port}: "
                             f"{os.strerror(error.errno or 0)}{hint}") from None
        except OverflowError:
            raise ServeError(f"A TCP port is 0 to 65535, not {port}") from None
        self._listener.setblocking(False)
        self.url = f"tcp:{address}:{self._listener.getsockname()[1]}"
        self._selector.register(self._listener, selectors.EVENT_READ)
        self.live.pause()

    @property
    def connected(self):
        """The host's address, or "" if there is none (always "pty" for a pseudo-terminal)."""
        return "pty" if self._pty else self._peer

    def stop(self):
        """Make :meth:`run` return; from any thread."""
        self._stopping.set()
        self._wake()

    def _wake(self):
        # A full pipe wakes as well.
        with contextlib.suppress(OSError):
            self._wake_w.send(b"w")

    def run(self):
        """Serve until :meth:`stop`.

        Raises
        ------
        EngineFailed
            The node has ended.
        """
        self.live.start(self._wake)
        try:
            while not self._stopping.is_set():
                self._want_write()
                for key, events in self._selector.select():
                    self._handle(key.fileobj, events)
                self._send_out()
        finally:
            self.live.stop()
            self._close()

    def _handle(self, source, events):
        if source is self._wake_r:
            with contextlib.suppress(BlockingIOError):
                self._wake_r.recv(4096)
        elif source is self._listener:
            self._accept()
        elif source == self._host and events & selectors.EVENT_READ:
            self._read()

    def _accept(self):
        with contextlib.suppress(BlockingIOError, ConnectionError):
            connection, peer = self._listener.accept()
            name = f"{peer[0]}:{peer[1]}"
            if self._host is not None:
                self.refused += 1
                _log.warning("refused %s: %s is connected, and a node has one host at a time",
                             name, self._peer)
                connection.close()
                return
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._host, self._peer = connection, name
            self._selector.register(connection, selectors.EVENT_READ)
            _log.info("host %s connected", name)
            self.live.resume()

    def _leave(self):
        _log.info("host %s has gone", self._peer)
        self.live.pause()
        self._selector.unregister(self._host)
        self._host.close()
        self._host, self._peer = None, ""
        self._out.clear()

    def _read(self):
        try:
            data = os.read(self._host, _PIECE) if self._pty else self._host.recv(_PIECE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self.live.send(data)
        elif not self._pty:
            self._leave()

    def _send_out(self):
        if self._host is None:
            return
        while True:
            if not self._out:
                self._out += self.live.take(_PIECE)
                if not self._out:
                    return
            try:
                count = os.write(self._host, self._out) if self._pty \
                    else self._host.send(self._out)
            except BlockingIOError:
                return
            except OSError:
                if self._pty:
                    raise
                self._leave()
                return
            del self._out[:count]

    def _want_write(self):
        if self._host is not None:
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._out else 0)
            self._selector.modify(self._host, events)

    def _close(self):
        self._selector.close()
        if self._pty:
            self._pty.close()
        elif self._host is not None:
            self._host.close()
        if self._listener is not None:
            self._listener.close()
        self._wake_r.close()
        self._wake_w.close()


def serve(engine, *, tcp=None, address="127.0.0.1", symlink=None, ready=None, live_options=None):
    """Serve an engine until interrupted (Ctrl-C) or the node ends.

    Parameters
    ----------
    engine : Engine
    tcp, address, symlink
        See :class:`NodeServer`.
    ready : callable or None
        Called with the server when hosts can connect.
    live_options : dict or None
        For :class:`~quantacore.sim.node.live.LiveNode`.
    """
    from quantacore.sim.node.live import LiveNode

    live = LiveNode(engine, **(live_options or {}))
    server = NodeServer(live, tcp=tcp, address=address, symlink=symlink)
    if ready is not None:
        ready(server)
    with contextlib.suppress(KeyboardInterrupt):
        server.run()
