"""Whether a decoder's records are those of its golden model."""

import numpy as np

from quantacore.gateware.layouts.decoder import BASES
from quantacore.sim.bench.decoder import Fate, round_words
from quantacore.sim.golden.decoder.fast import decode_shots

__all__ = ["assert_equal", "decode_both", "decode_with_losses", "differences"]

# Columns of the golden model's windows, matches and escapes (see its Result).
_SHOT, _BASIS, _FIRST, _LAYERS, _LAST, _FLIPS, _OVERFLOW, _DROPPED, _WALK, _LARGEST, _DEFECTS = \
    range(11)


def _expected(golden, basis):
    """The golden model's rows of one basis, as columns of records."""
    windows = golden.windows[golden.windows[:, _BASIS] == basis]
    matches = golden.matches[golden.matches[:, _BASIS] == basis]
    escapes = golden.escapes[golden.escapes[:, _BASIS] == basis]
    boundary = matches[:, 5] < 0
    return {
        "verdicts": {
            "round": windows[:, _FIRST], "layers": windows[:, _LAYERS],
            "last": windows[:, _LAST], "obs": windows[:, _FLIPS],
            "overflow": windows[:, _OVERFLOW], "events_dropped": windows[:, _DROPPED],
            "walk_error": windows[:, _WALK], "largest": np.minimum(windows[:, _LARGEST], 15),
        },
        # An overflowed list is empty, whatever the window had.
        "timings": {"defects": np.where(windows[:, _OVERFLOW], 0, windows[:, _DEFECTS])},
        "matches": {
            "round": matches[:, 2] & 0xffffff, "space": matches[:, 3], "boundary": boundary,
            "delta": np.where(boundary, 0, matches[:, 4] - matches[:, 2]),
            "other_space": np.where(boundary, 0, matches[:, 5]), "obs": matches[:, 6],
        },
        "escapes": {"round": escapes[:, 2], "space": escapes[:, 3]},
    }


def differences(records, golden):
    """Say where records and golden model differ.

    Parameters
    ----------
    records : Records
        Of whole shots, with matches.
    golden : Result
        Of the same shots, with records.

    Returns
    -------
    list of str
        Empty where they are equal, record by record.
    """
    found = []
    for basis in range(BASES):
        for kind, columns in _expected(golden, basis).items():
            got = getattr(records, kind)
            mine = got["basis"] == basis
            for name, column in columns.items():
                have = got[name][mine]
                if len(have) != len(column):
                    found.append(f"basis {basis}: {len(have)} {kind}, not {len(column)}")
                    break
                wrong = np.flatnonzero(have != column)
                if len(wrong):
                    at = wrong[0]
                    found.append(f"basis {basis}: {name} of {len(wrong)} of {len(column)} {kind}, "
                                 f"first number {at}: {have[at]}, not {column[at]}")
    return found


def assert_equal(records, golden):
    """Raise :exc:`AssertionError` that says where records and golden model differ."""
    found = differences(records, golden)
    assert not found, "\n".join(found)


def decode_both(decoder, shots, *, correlation=True, erasures=None, **running):
    """Decode shots by the gateware and by the golden model.

    Parameters
    ----------
    decoder : FastDecoder
        With the same ``correlation``.
    shots : numpy.ndarray
        ``(shots, bases, layers, spaces)``.
    correlation : bool
    erasures : numpy.ndarray, optional
        ``(shots, layers, sites)``.
    running
        Arguments of :meth:`FastDecoder.run`.

    Returns
    -------
    (Records, Result)
    """
    golden = decode_shots(decoder.image, shots, commit=decoder.commit, buffer=decoder.buffer,
                          reach=decoder.reach, correlation=correlation, records=True,
                          erasures=erasures)
    records = decoder.run(round_words(decoder.shape, shots, erasures=erasures),
                          windows=len(golden.windows), **running)
    return records, golden


def decode_with_losses(decoder, layers, *, gaps, rng, repeated=0.02):
    """Decode one shot whose rounds come whether there is room or not, some of them twice.

    What is lost is taken as free of defects: so it goes to the golden model, too.

    Parameters
    ----------
    decoder : FastDecoder
        Idle.
    layers : numpy.ndarray
        ``(bases, layers, spaces)``. The first and the last layer are not lost.
    gaps : int or array of int
        Clocks between rounds, at least 1.
    rng : numpy.random.Generator
        Says which rounds come twice.
    repeated : float
        Chance of a round to come twice.

    Returns
    -------
    (Records, Result, numpy.ndarray)
        The last says of each layer whether it was lost.
    """
    count = layers.shape[1]
    words = round_words(decoder.shape, layers[None])
    sent = np.sort(np.concatenate([np.arange(count), np.flatnonzero(
        (rng.random(count) < repeated) & (np.arange(count) % (count - 1) != 0))]))
    # As many windows as the golden model has, whatever is in them.
    windows = decode_shots(decoder.image, np.zeros((1, *layers.shape), np.uint8),
                           commit=decoder.commit, buffer=decoder.buffer,
                           records=True).windows
    records = decoder.run(words[sent], gaps=np.resize(gaps, len(sent)), windows=len(windows),
                          throttle=sent == count - 1)
    lost = np.ones(count, bool)
    lost[sent[records.fates == Fate.ACCEPTED]] = False
    golden = decode_shots(decoder.image, np.where(lost[:, None], 0, layers)[None],
                          commit=decoder.commit, buffer=decoder.buffer, reach=decoder.reach,
                          records=True)
    return records, golden, lost
