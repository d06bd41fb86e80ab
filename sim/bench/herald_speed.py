"""The herald unit's click path at the speed of compiled C++."""

import contextlib
import ctypes
from dataclasses import fields
from pathlib import Path

import numpy as np

from quantacore.gateware.layouts.herald import COUNTS, HeraldControl, Role
from quantacore.gateware.layouts.tags import FINE_BITS, sample_word
from quantacore.sim.bench.compiled import build_library
from quantacore.sim.bench.herald_path import HeraldPathProbe, Seen, TableWord
from quantacore.sim.golden.herald_fast import Verdicts

__all__ = ["FastPath", "control_of", "dead_ticks_of"]

_TAPES = {"begin": np.int64, "word": np.int64, "line": np.int64, "level": np.uint8,
          "fine": np.uint16, "windows": np.int64, "gap": np.int64, "first": np.int64,
          "second": np.int64}


def control_of(settings):
    """Register ``control`` for :class:`~quantacore.sim.golden.herald.HeraldSettings`."""
    return HeraldControl.const({
        "enable": 1, "by_reference": settings.by_reference, "reference": settings.reference,
        "role": Role.SOLO, "falling": settings.falling}).as_bits()


def dead_ticks_of(settings):
    """The probe's port ``dead_ticks``."""
    return sum(ticks << 8 * number for number, ticks in enumerate(settings.dead_ticks))


class FastPath:
    """A path that goes through tapes.

    Parameters
    ----------
    samples, fine
        The path's.
    optimisation : int
        0 builds sooner and runs several times slower.
    """

    def __init__(self, *, samples, fine, optimisation=1):
        self.samples, self.fine = samples, fine
        layout = Seen.as_shape()
        size = sample_word(samples, fine=fine).size
        library = ctypes.CDLL(str(build_library(
            "herald_path", lambda: HeraldPathProbe(samples=samples, fine=fine),
            f"{samples} {fine}", harness=Path(__file__).with_name("herald_path.cpp"),
            optimisation=optimisation, defines={
                "QC_SAMPLES": samples, "QC_WORD_BITS": size,
                "QC_FINE_BITS": FINE_BITS - samples.bit_length() + 1 if fine else 0,
                **{f"QC_{name.upper()}": field.offset for name, field in layout}})))
        pointer, size = ctypes.c_void_p, ctypes.c_size_t
        for name, result, arguments in (
            ("create", pointer, ()), ("destroy", None, (pointer,)), ("reset", None, (pointer,)),
            ("settings", None, (pointer, *(ctypes.c_int,) * 3, ctypes.c_uint64)),
            ("write", None, (pointer, ctypes.c_uint64)),
            ("run", size, (pointer, pointer, pointer, size, ctypes.c_int64, pointer)),
        ):
            function = getattr(library, f"qch_{name}")
            function.restype, function.argtypes = result, arguments
        self._library = library
        self._bench = library.qch_create()

    def __del__(self):
        with contextlib.suppress(AttributeError):
            self._library.qch_destroy(self._bench)

    def configure(self, *, tables, settings):
        """Reset, settings, all tables."""
        self._library.qch_reset(self._bench)
        self._library.qch_settings(
            self._bench, control_of(settings), settings.reference_earliest,
            settings.reference_latest, dead_ticks_of(settings))
        for table, index, data in tables.words():
            self._library.qch_write(self._bench, TableWord.const(
                {"table": table, "index": index, "data": data}).as_bits())

    def run(self, tapes, *, limit=10_000):
        """Make the attempts of ``tapes``.

        Parameters
        ----------
        tapes : Tapes
        limit : int
            Ticks in which an attempt must be decided.

        Returns
        -------
        verdicts : Verdicts
            With ``delta`` 0 where the next attempt starts too soon to ask for it.
        wrong : int
            Ticks in which ``busy`` was not what it should be, or a verdict came unasked.
        """
        arrays = [np.ascontiguousarray(getattr(tapes, name), dtype)
                  for name, dtype in _TAPES.items()]
        count = len(tapes.windows)
        out = [np.zeros(COUNTS if each.name == "counts" else count, dtype)
               for each, dtype in zip(fields(Verdicts), (
                   np.int64, *(np.uint8,) * 5, np.uint32, np.int32, *(np.uint8,) * 3, np.int64),
                   strict=True)]

        def struct(values):
            return (ctypes.c_void_p * len(values))(*(value.ctypes.data for value in values))

        wrong = ctypes.c_int64()
        done = self._library.qch_run(self._bench, struct(arrays), struct(out), count, limit,
                                     ctypes.addressof(wrong))
        if done < count:
            raise RuntimeError(f"Attempt {done} was not decided in {limit} ticks")
        return Verdicts(*out), wrong.value
