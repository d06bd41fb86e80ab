"""What can go wrong between a driver and its node."""

from quantacore.gateware.layouts.frames import Status

__all__ = ["LinkError", "LinkTimeoutError", "NodeBusyError", "SessionError", "NodeResetError",
           "SessionLostError", "NotANodeError", "MapMismatchError", "RefusedError",
           "BadFrameError", "BadVersionError", "BadChannelError", "BadOpError", "BadLengthError",
           "UnmappedError", "ReadOnlyError", "WriteOnlyError", "LateError", "QueueFullError",
           "UnorderedError", "OutOfRangeError", "REFUSALS", "AchievedValueWarning"]


class LinkError(Exception):
    """Base of everything that goes wrong on the link above the transport."""


class LinkTimeoutError(LinkError):
    """No answer, after all retries."""


class NodeBusyError(LinkError):
    """Another host has a session with the node."""


class SessionError(LinkError):
    """The session is over; ``reconnect()`` opens another."""


class NodeResetError(SessionError):
    """The node was reset: its registers are back at their initial values."""


class SessionLostError(SessionError):
    """Another host has taken the node over."""


class NotANodeError(LinkError):
    """What answers is not a QuantaCore node, or speaks another protocol."""


class MapMismatchError(LinkError):
    """Host and node were made from different register maps."""


class AchievedValueWarning(UserWarning):
    """A setting was rounded to what the node can do."""


class RefusedError(LinkError):
    """The node refused a request (NAK). ``status`` says why, ``done`` words were done before."""

    status = None

    def __init__(self, message, *, done=0):
        super().__init__(message)
        self.done = done


class BadFrameError(RefusedError):
    status = Status.BAD_FRAME


class BadVersionError(RefusedError):
    status = Status.BAD_VERSION


class BadChannelError(RefusedError):
    status = Status.BAD_CHANNEL


class BadOpError(RefusedError):
    status = Status.BAD_OP


class BadLengthError(RefusedError):
    status = Status.BAD_LENGTH


class UnmappedError(RefusedError):
    status = Status.UNMAPPED


class ReadOnlyError(RefusedError):
    status = Status.READ_ONLY


class WriteOnlyError(RefusedError):
    status = Status.WRITE_ONLY


class LateError(RefusedError):
    status = Status.LATE


class QueueFullError(RefusedError):
    status = Status.QUEUE_FULL


class UnorderedError(RefusedError):
    status = Status.UNORDERED


class OutOfRangeError(RefusedError):
    status = Status.OUT_OF_RANGE


#: Exception of each refusal.
REFUSALS = {cls.status.value: cls for cls in RefusedError.__subclasses__()}
