"""Whether a decoder's records are those of its golden model."""

import numpy as np

from quantacore.gateware.layouts.decoder import BASES
from quantacore.sim.bench.decoder import round_words
from quantacore.sim.golden.decoder.fast import decode_shots

__all__ = ["assert_equal", "decode_both", "differences"]

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


def decode_both(decoder, shots, *, correlation=True, erasures=None, gaps=0, limit=None):
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
    gaps : int or array of int
        Clocks between rounds.
    limit : int, optional
        Clocks at most.

    Returns
    -------
    (Records, Result)
    """
    golden = decode_shots(decoder.image, shots, commit=decoder.commit, buffer=decoder.buffer,
                          reach=decoder.reach, correlation=correlation, records=True,
                          erasures=erasures)
    records = decoder.run(round_words(decoder.shape, shots, erasures=erasures), gaps=gaps,
                          windows=len(golden.windows), limit=limit)
    return records, golden
