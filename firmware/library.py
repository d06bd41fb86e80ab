"""Pulse sequences for the builder; ``programs/*.inc.qcs`` has the same as macros."""

__all__ = ["stirap", "pulse_train", "switch_and_settle"]


def stirap(program, stokes, pump, T, delay, shape="gaussian", *, amplitude=1.0, reverse=False,
           points=64):
    """Write a STIRAP sequence: the Stokes pulse begins ``delay`` before the pump pulse.

    Population goes from the state that the pump couples to the one that the Stokes pulse couples
    to, through a dark state, if the Stokes pulse comes first. The best delay is 1.2 to 1.5 times
    the width of a Gaussian (``exp(-t**2 / width**2)``), and 0.6 to 0.9 times half the base of a
    sin2 pulse.

    Parameters
    ----------
    program : Program
    stokes, pump : int
        Channels.
    T : float, int or str
        Length of each pulse: its whole base.
    delay : float, int or str
        From the beginning of the first pulse to that of the second.
    shape : str
        Of the envelope: "gaussian", "sin2", "sech" or another one of the language.
    amplitude : float or (float, float)
        Of both, or of Stokes and pump.
    reverse : bool
        The pump pulse comes first (the inverse transfer, or an experiment on the order).
    points : int

    Raises
    ------
    ValueError
        A delay below 0, which would turn the order around without ``reverse``; or no overlap.
    """
    length, apart = program.time(T), program.time(delay)
    if not (length.isdecimal() and apart.lstrip("-").isdecimal()):
        raise ValueError("T and delay must be seconds or ticks, not text")
    length, apart = int(length), int(apart)
    if apart < 0:
        raise ValueError(f"A delay of {apart} ticks puts the pump pulse before the Stokes pulse, "
                         f"which transfers nothing; swap the channels, or ask for reverse=True and "
                         f"give the delay as a positive number")
    if apart >= length:
        raise ValueError(f"A delay of {apart} ticks leaves no overlap of pulses of {length} ticks; "
                         f"take a shorter one")
    if apart == 0:
        raise ValueError("STIRAP needs a delay of at least one tick")
    first, second = (pump, stokes) if reverse else (stokes, pump)
    both = amplitude if isinstance(amplitude, tuple) else (amplitude, amplitude)
    amplitudes = dict(zip((stokes, pump), both, strict=True))
    tag = program.new_label("stirap")
    envelope = program.envelope(f"{tag}_shape", sorted({stokes, pump}), shape, points=points)
    wave = program.wave(f"{tag}_wave", envelope, length)
    program.pulse(first, wave, amplitudes[first], dwell=apart)
    program.pulse(second, wave, amplitudes[second], dwell=length)


def pulse_train(program, channel, wave, amplitude, count, period):
    """Write ``count`` equal pulses, ``period`` apart; no loop if it is one."""
    if count == 1:
        program.pulse(channel, wave, amplitude, dwell=period)
        return
    with program.loop(count):
        program.pulse(channel, wave, amplitude, dwell=period)


def switch_and_settle(program, route, settle):
    """Write a change of the route, and the wait until it has settled."""
    program.switch(route, dwell=1)
    program.wait(settle)
