"""A node at a serial port: USB adapters, boards, and pseudo-terminals.

On POSIX systems the port's file descriptor is watched by the event loop. Elsewhere a thread of
the transport waits for bytes.
"""

import asyncio
import errno
import os
import sys
import threading
from pathlib import Path

import serial
from serial.tools import list_ports

from quantacore.host.transport.base import (
    DisconnectedError,
    PortBusyError,
    PortNotFoundError,
    PortPermissionError,
    Transport,
    TransportError,
)

__all__ = ["DEFAULT_BAUD", "UDEV_RULE", "SerialTransport"]

#: Bits per second on the line unless the URL says otherwise.
DEFAULT_BAUD = 3_000_000
#: Rule that lets the user at the screen open USB serial adapters.
UDEV_RULE = 'SUBSYSTEM=="tty", SUBSYSTEMS=="usb", MODE="0660", GROUP="dialout", TAG+="uaccess"'
_MAX_BAUD = 12_000_000


def _holders(path):
    """Programs that have a port open, as far as this user may see, as text."""
    found = []
    try:
        target = os.path.realpath(path)
        for process in Path("/proc").iterdir():
            if not process.name.isdecimal() or int(process.name) == os.getpid():
                continue
            try:
                if any(os.path.realpath(fd) == target for fd in (process / "fd").iterdir()):
                    name = (process / "comm").read_text().strip()
                    found.append(f"{name} (process {process.name})")
            except OSError:
                continue
    except OSError:
        pass
    return ", ".join(found)


class SerialTransport(Transport):
    """A serial port, 8 data bits, no parity, locked for this program.

    Parameters
    ----------
    port : str
        Path or name of the port.
    baud : int
        Bits per second, the node's own rate; without meaning for a pseudo-terminal.
    threads : bool
        Wait for bytes in a thread, for systems whose event loop can't watch a port.
    """

    def __init__(self, port, *, baud=DEFAULT_BAUD, threads=os.name != "posix"):
        if not port:
            raise ValueError("A serial node is named serial:PORT, such as serial:/dev/ttyUSB0")
        if not 1 <= baud <= _MAX_BAUD:
            raise ValueError(f"Baud rate must be 1 to {_MAX_BAUD}, not {baud!r}")
        self.port = port
        self.baud = baud
        self.url = f"serial:{port}?baud={baud}"
        self._posix = not threads
        self._serial = None
        self._loop = None
        self._waiter = None
        self._thread = None

    # Opening, and what can be wrong with it.

    async def open(self):
        if self._serial is not None:
            return
        try:
            self._serial = serial.Serial(self.port, self.baud, timeout=0, write_timeout=None,
                                         exclusive=True if os.name == "posix" else None)
        except (serial.SerialException, OSError, ValueError) as error:
            raise self._explain(error) from error
        self._loop = asyncio.get_running_loop()
        self._error = None
        self._received = bytearray()
        if self._posix:
            os.set_blocking(self._serial.fileno(), False)
        else:
            self._serial.timeout = 0.1
            self._thread = threading.Thread(target=self._pump, args=(self._serial,), daemon=True)
            self._thread.start()

    def _explain(self, error):
        number = getattr(error, "errno", None)
        text = str(error)
        missing = (number in (errno.ENOENT, errno.ENODEV, errno.ENXIO)
                   or "FileNotFoundError" in text)
        if missing:
            ports = [f"{p.device} ({p.description})" for p in list_ports.comports()]
            return PortNotFoundError(
                f"There is no port {self.port}. "
                + (f"Ports found: {', '.join(ports)}." if ports
                   else "No serial ports were found: is the board plugged in and powered?")
                + " A node without hardware is virtual:")
        if number in (errno.EACCES, errno.EPERM) or "PermissionError" in text:
            if sys.platform == "win32":
                return PortBusyError(f"Port {self.port} is in use by another program; close it")
            return PortPermissionError(
                f"This user may not open {self.port}. Join the group that owns it: "
                f"sudo usermod -aG dialout $USER, then log in anew. Or put this rule into "
                f"/etc/udev/rules.d/60-quantacore.rules and plug the board in again: {UDEV_RULE}")
        if number in (errno.EAGAIN, errno.EBUSY, errno.EWOULDBLOCK) or "exclusively lock" in text:
            who = _holders(self.port)
            return PortBusyError(
                f"Port {self.port} is in use" + (f" by {who}" if who else " by another program")
                + "; close that program, or reach the node through it if it serves TCP")
        if isinstance(error, ValueError) or "baud" in text.lower():
            return TransportError(f"Port {self.port} can't do {self.baud} baud ({error}); give the "
                                  f"node's rate as serial:{self.port}?baud=RATE")
        return TransportError(f"Port {self.port} can't be opened: {error}")

    async def close(self):
        port, self._serial = self._serial, None
        if port is None:
            return
        self._fail(DisconnectedError(f"Port {self.port} is closed"))
        if self._posix:
            self._loop.remove_reader(port.fileno())
            self._loop.remove_writer(port.fileno())
        else:
            await asyncio.to_thread(self._thread.join)
        try:
            port.close()
        except OSError:
            pass  # unplugged before

    def _fail(self, error):
        self._error = self._error or error
        self._wake()

    def _wake(self):
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _gone(self, error=None):
        detail = f" ({error.strerror or error})" if isinstance(error, OSError) else ""
        return DisconnectedError(f"Port {self.port} has gone{detail}: was the cable unplugged or "
                                 f"the board switched off? Plug it in and connect again")

    # Threads, where file descriptors can't be watched.

    def _pump(self, port):
        while self._serial is port:
            try:
                data = port.read(max(1, port.in_waiting))
            except (OSError, serial.SerialException, TypeError) as error:
                self._loop.call_soon_threadsafe(self._fail, self._gone(error))
                return
            if data:
                self._loop.call_soon_threadsafe(self._arrived, data)

    def _arrived(self, data):
        self._received += data
        self._wake()

    # Bytes.

    def _check(self):
        if self._error is not None:
            raise self._error
        if self._serial is None:
            raise DisconnectedError(f"Port {self.port} is closed")

    async def read(self, limit=65536):
        while True:
            self._check()
            if self._posix:
                fd = self._serial.fileno()
                try:
                    data = os.read(fd, limit)
                    if data:
                        return data
                    # A terminal in raw mode says 0 for "nothing yet" as well as for "hung up".
                    if self._hung_up(fd):
                        # Bytes may have come between the read and the poll.
                        data = os.read(fd, limit)
                        if data:
                            return data
                        raise self._gone()
                except BlockingIOError:
                    pass
                except OSError as error:
                    raise self._gone(error) from error
                self._waiter = waiter = self._loop.create_future()
                self._loop.add_reader(fd, self._wake)
                try:
                    await waiter
                finally:
                    if self._serial is not None:
                        self._loop.remove_reader(fd)
            else:
                if self._received:
                    data = bytes(self._received[:limit])
                    del self._received[:limit]
                    return data
                self._waiter = waiter = self._loop.create_future()
                await waiter

    @staticmethod
    def _hung_up(fd):
        import select
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        events = poll.poll(0)
        return bool(events) and bool(events[0][1] & (select.POLLHUP | select.POLLERR
                                                     | select.POLLNVAL | select.POLLIN))

    async def write(self, data):
        self._check()
        if not self._posix:
            try:
                await self._loop.run_in_executor(None, self._serial.write, data)
            except (OSError, serial.SerialException) as error:
                raise self._gone(error) from error
            return
        left = memoryview(data)
        while left:
            self._check()
            fd = self._serial.fileno()
            try:
                left = left[os.write(fd, left):]
            except BlockingIOError:
                waiter = self._loop.create_future()
                self._loop.add_writer(fd, lambda w=waiter: w.done() or w.set_result(None))
                try:
                    await waiter
                finally:
                    if self._serial is not None:
                        self._loop.remove_writer(fd)
            except OSError as error:
                raise self._gone(error) from error

    def hint(self):
        return (f"check that the board is powered, runs QuantaCore gateware and talks at "
                f"{self.baud} baud")
