"""Photon sources from text, for the command line and for ``virtual:`` addresses."""

import numpy as np

from quantacore.sim.photonics.detectors import Detected, Detector
from quantacore.sim.photonics.references import ReferenceClock
from quantacore.sim.photonics.sources import AntibunchedEmitter, Poisson, Pulsed, Replay

__all__ = ["GRAMMAR", "as_source", "parse_reference", "parse_source"]

GRAMMAR = """\
poisson:RATE[,chN]                 independent photons, RATE per second
pulsed:PERIOD_PS,mean=M[,width=PS][,chN]
                                   laser pulses with M photons each on average
emitter:RATE,lifetime=PS[,ch=A+B]  two-level emitter at a beam splitter, excited RATE times
                                   per second; or emitter:pulse=PERIOD_PS,lifetime=PS
                                   [,probability=P]. [,efficiency=E] [,on=PS,off=PS] (blinking)
replay:FILE.npz                    arrays times_ps and channels from a NumPy file
Every one takes its detectors' [,eff=E] [,dark=HZ] [,dead=PS] [,jitter=PS]."""


def as_source(source, rng):
    """``source`` itself if it is one, or the source that a text describes."""
    if isinstance(source, str):
        return parse_source(source, rng)
    if not callable(getattr(source, "batches", None)):
        raise TypeError(f"A source has a method batches(until_ps), or is text such as "
                        f"\"poisson:1e6,ch0\"; {source!r} is neither")
    return source


class _Words:
    """The words after ``kind:``, each to be taken once."""

    def __init__(self, text):
        self.text = text
        self.kind, _, rest = text.partition(":")
        self.first = None
        self.named = {}
        for word in filter(None, rest.split(",")):
            name, equals, value = word.partition("=")
            if equals:
                self.named[name.strip()] = value.strip()
            elif word.startswith("ch") and word[2:].isdigit():
                self.named["ch"] = word[2:]
            elif self.first is None:
                self.first = word.strip()
            else:
                self.fail(f"{word!r} is one word too many")

    def fail(self, why):
        raise ValueError(f"Source {self.text!r}: {why}. Sources are\n{GRAMMAR}")

    def number(self, name, default=None, kind=float):
        text = self.named.pop(name, None)
        if text is None:
            return default
        return self.convert(name, text, kind)

    def leading(self, what, kind=float):
        if self.first is None:
            self.fail(f"it lacks {what}")
        text, self.first = self.first, None
        return self.convert(what, text, kind)

    def convert(self, name, text, kind):
        try:
            value = float(text)
            if kind is int and value != int(value):
                raise ValueError
            return kind(value)
        except (ValueError, OverflowError):
            self.fail(f"{name} must be {'a whole number' if kind is int else 'a number'}, "
                      f"not {text!r}")

    def channels(self, default):
        text = self.named.pop("ch", None)
        if text is None:
            return default
        parts = text.replace(" ", "+").split("+")  # a URL's "+" is a space
        if not all(part.isdigit() for part in parts) or len(parts) != len(default):
            self.fail(f"ch must be {'a channel' if len(default) == 1 else 'two channels A+B'}, "
                      f"not {text!r}")
        return tuple(map(int, parts))

    def finish(self):
        if self.named or self.first is not None:
            rest = [*self.named, *filter(None, [self.first])]
            self.fail(f"it has no {', '.join(map(repr, rest))}")


def _detector(words):
    settings = {
        "efficiency": words.number("eff"),
        "dark_hz": words.number("dark"),
        "dead_time_ps": words.number("dead", kind=int),
        "jitter_ps": words.number("jitter"),
    }
    settings = {name: value for name, value in settings.items() if value is not None}
    return Detector(**settings) if settings else None


def _load(words, path):
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = {"times_ps", "channels"} - set(file.files)
            if missing:
                words.fail(f"{path} lacks the array {' and '.join(sorted(missing))} (it has "
                           f"{', '.join(file.files) or 'none'})")
            return Replay(file["times_ps"], file["channels"])
    except FileNotFoundError:
        words.fail(f"there is no file {path}")
    except (OSError, TypeError, AttributeError) as error:
        words.fail(f"{path} is not an .npz file of arrays ({error}); other formats are read by "
                   f"`quantacore node --source replay:FILE`")


def parse_source(text, rng):
    """The source that ``text`` describes; see :data:`GRAMMAR`.

    Parameters
    ----------
    text : str
    rng : numpy.random.Generator

    Raises
    ------
    ValueError
        With the grammar in the message.
    """
    if text.startswith("replay:"):
        words = _Words("replay:")
        words.text = text
        return _load(words, text.partition(":")[2])
    words = _Words(text)
    source_rng, detector_rng = rng.spawn(2)
    detector = _detector(words)
    try:
        if words.kind == "poisson":
            channels = words.channels((0,))
            source = Poisson(words.leading("its rate"), channel=channels[0], rng=source_rng)
        elif words.kind == "pulsed":
            channels = words.channels((0,))
            mean = words.number("mean")
            if mean is None:
                words.fail("it lacks mean=PHOTONS")
            source = Pulsed(words.leading("its period", int), mean=mean,
                            width_ps=words.number("width", 0), channel=channels[0],
                            rng=source_rng)
        elif words.kind == "emitter":
            channels = words.channels((0, 1))
            lifetime = words.number("lifetime")
            if lifetime is None:
                words.fail("it lacks lifetime=PS")
            period = words.number("pulse", kind=int)
            source = AntibunchedEmitter(
                lifetime_ps=lifetime, pulse_period_ps=period,
                excitation_hz=None if period else words.leading("its excitation rate"),
                excitation_probability=words.number("probability", 1.0),
                efficiency=words.number("efficiency", 1.0), on_ps=words.number("on"),
                off_ps=words.number("off"), channels=channels, rng=source_rng)
        else:
            words.fail(f"there is no source {words.kind!r}")
    except ValueError as error:
        if str(error).startswith("Source "):
            raise
        raise ValueError(f"Source {text!r}: {error}") from None
    words.finish()
    if detector is None:
        return source
    return Detected(source, dict.fromkeys(channels, detector), rng=detector_rng)


def parse_reference(text, period_ps, rng):
    """A reference from ``[ppm=X][,jitter=PS][,phase=PS][,lost=FROM_PS-TO_PS]``, or ``on``.

    ``ppm`` is how much faster than nominal the node's clock runs. With ``period_ps`` None the text
    has ``period=PS`` too.
    """
    words = _Words(f"reference:{'' if text in (None, '', 'on', 'ideal') else text}")
    words.text = text
    try:
        if period_ps is None:
            period_ps = words.number("period", 0, int)
        lost = words.named.pop("lost", None)
        windows = ()
        if lost:
            begin, _, end = lost.partition("-")
            windows = ((words.convert("lost", begin, int), words.convert("lost", end, int)),)
        source = ReferenceClock(
            period_ps, offset_ppm=words.named.pop("ppm", 0), jitter_ps=words.number("jitter", 0),
            phase_ps=words.number("phase", 0, int), lost=windows, rng=rng)
        if words.named or words.first:
            raise ValueError(f"unknown {', '.join([*words.named, words.first or ''])}")
    except ValueError as error:
        reason = str(error).partition(". Sources are")[0]
        raise ValueError(f"Reference {text!r}: {reason}; it is on, or any of ppm=X, jitter=PS, "
                         f"phase=PS, lost=FROM_PS-TO_PS joined by commas") from None
    return source
