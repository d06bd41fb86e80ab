"""Shots for a decoder, and what came of them: what ``quantacore decode`` does."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from quantacore.host.qec.compiler import compile_circuit, compile_dem
from quantacore.host.qec.erasure import has_heralds, shot_heralds
from quantacore.host.qec.graph import ModelError
from quantacore.host.qec.optional import require

__all__ = ["Source", "Shots", "Score", "read_source", "read_shots", "score", "matching_flips",
           "shot_layers_of", "erasures_of"]

_FORMATS = {".b8": "b8", ".01": "01", ".dets": "dets", ".r8": "r8", ".hits": "hits", ".ptb64":
            "ptb64"}
_NOISE = ("after_clifford_depolarization", "before_measure_flip_probability",
          "after_reset_flip_probability", "before_round_data_depolarization")
#: What a generated code may be followed by.
GRAMMAR = "CODE:TASK,d=DISTANCE,p=PROBABILITY,rounds=ROUNDS"


@dataclass(frozen=True)
class Source:
    """Where shots come from.

    Attributes
    ----------
    name : str
    circuit : stim.Circuit or None
        None where only an error model is known.
    model : stim.DetectorErrorModel
    generate : callable or None
        Rounds to circuit, for a generated code.
    """

    name: str
    circuit: object
    model: object
    generate: object = None

    def compile(self, **options):
        """The image for this source; options as of :func:`quantacore.host.qec.compile_dem`."""
        if self.generate is not None and options.get("kind", "auto") != "full":
            return compile_circuit(self.generate, **options)
        if self.circuit is not None:
            return compile_circuit(self.circuit, **options)
        return compile_dem(self.model, **options)

    def sample(self, shots, seed=None):
        """Sample :class:`Shots`; with measurements where the circuit has heralds."""
        if self.circuit is not None and has_heralds(self.circuit):
            measured = self.circuit.compile_sampler(seed=seed).sample(shots)
            detections, flips = self.circuit.compile_m2d_converter().convert(
                measurements=measured, separate_observables=True)
            return Shots(detections, flips, measured)
        if self.circuit is not None:
            detections, flips = self.circuit.compile_detector_sampler(seed=seed).sample(
                shots, separate_observables=True)
        else:
            detections, flips, _ = self.model.compile_sampler(seed=seed).sample(shots)
        return Shots(detections, flips)


@dataclass(frozen=True)
class Shots:
    """Detection events (shots, detectors), and the observables' true flips or None.

    ``measurements`` are there where heralds of erasures are among them.
    """

    detections: np.ndarray
    flips: np.ndarray | None
    measurements: np.ndarray | None = None

    def first(self, count):
        """The first shots."""
        return Shots(*(None if part is None else part[:count] for part in
                       (self.detections, self.flips, self.measurements)))


def _number(name, text, kind):
    try:
        return kind(text)
    except ValueError:
        raise ModelError(f"{name}={text} is not a number; a generated code is written "
                         f"{GRAMMAR}") from None


def _generated(text):
    stim = require("stim")
    task, *parts = text.split(",")
    values = {"d": 3, "rounds": None, "p": 0.003}
    for part in parts:
        name, equals, value = part.partition("=")
        if not equals or name not in values:
            raise ModelError(f"{part!r} in {text!r} means nothing; a generated code is written "
                             f"{GRAMMAR}")
        values[name] = _number(name, value, float if name == "p" else int)

    def generate(rounds):
        try:
            return stim.Circuit.generated(task, distance=values["d"], rounds=rounds,
                                          **dict.fromkeys(_NOISE, values["p"]))
        except ValueError as error:
            raise ModelError(f"{text!r}: {str(error).splitlines()[0]}") from None

    return generate, values["rounds"] or 3 * values["d"]


def read_source(text):
    """A Stim circuit (``.stim``), an error model (``.dem``), or a code that Stim generates.

    A generated code is ``surface_code:rotated_memory_z,d=5,p=0.004,rounds=25``: every kind of
    noise has the probability ``p`` (0.003 if not given), and there are 3 d rounds by default.

    Raises
    ------
    ModelError
        It can't be understood.
    """
    stim = require("stim")
    path = Path(text)
    generate = None
    if path.suffix in (".dem", ".stim") and not path.is_file():
        raise ModelError(f"There is no file {text}")
    if path.suffix == ".dem":
        try:
            return Source(path.name, None, stim.DetectorErrorModel.from_file(path))
        except (ValueError, IndexError) as error:
            raise ModelError(f"{text} is not a detector error model: {error}") from None
    if path.suffix == ".stim" or path.is_file():
        try:
            circuit = stim.Circuit.from_file(path)
        except (ValueError, IndexError) as error:
            raise ModelError(f"{text} is not a Stim circuit: {error}") from None
        name = path.name
    elif ":" in text:
        generate, rounds = _generated(text)
        circuit, name = generate(rounds), text
    else:
        raise ModelError(f"{text!r} is no .stim or .dem file and no generated code; one is written "
                         f"{GRAMMAR}, for example surface_code:rotated_memory_z,d=5,p=0.004")
    try:
        # Erasures are noise to whoever does not look at their heralds.
        model = circuit.detector_error_model(decompose_errors=True,
                                             approximate_disjoint_errors=has_heralds(circuit))
    except ValueError as error:
        raise ModelError(f"{name} has no graph-like error model: {error}") from None
    return Source(name, circuit, model, generate)


def read_shots(path, model, *, observables=None, appended=False):
    """Detection events from a file of Stim's formats, by its suffix.

    Parameters
    ----------
    path : path
        ``.b8``, ``.01``, ``.dets``, ``.hits``, ``.r8`` or ``.ptb64``.
    model : stim.DetectorErrorModel
    observables : path, optional
        The true flips, in a file of their own.
    appended : bool
        The flips are in the same file, behind the detectors (``stim detect
        --append_observables``).

    Raises
    ------
    ModelError
        The file is not one of this model's.
    """
    stim = require("stim")

    def read(file, detectors, flips):
        kind = _FORMATS.get(Path(file).suffix)
        if kind is None:
            raise ModelError(f"{file}: shots are in files that end in {', '.join(_FORMATS)}")
        try:
            return stim.read_shot_data_file(path=str(file), format=kind, num_detectors=detectors,
                                            num_observables=flips)
        except ValueError as error:
            raise ModelError(f"{file} has no shots of a model with {model.num_detectors} "
                             f"detectors and {model.num_observables} observables: "
                             f"{error}") from None

    if not Path(path).is_file():
        raise ModelError(f"There is no file {path}")
    if appended:
        both = read(path, model.num_detectors, model.num_observables)
        return Shots(both[:, :model.num_detectors], both[:, model.num_detectors:])
    shots = read(path, model.num_detectors, 0)
    if observables is None:
        return Shots(shots, None)
    flips = read(observables, 0, model.num_observables)
    if len(flips) != len(shots):
        raise ModelError(f"{path} has {len(shots)} shots, and {observables} {len(flips)}")
    return Shots(shots, flips)


def shot_layers_of(image, source, shots):
    """The shots as a decoder takes them (see :func:`quantacore.host.qec.shot_layers`)."""
    from quantacore.host.qec.shots import shot_layers

    return shot_layers(image, source.circuit if source.circuit is not None else source.model,
                       shots.detections)


def erasures_of(image, source, shots):
    """Heralded erasures as a decoder takes them, or None where there are none to give."""
    if not image.shape.sites or shots.measurements is None:
        return None
    return shot_heralds(image, source.circuit, shots.measurements)


def matching_flips(model, shots):
    """What PyMatching (minimum-weight perfect matching) says of the shots."""
    matching = require("pymatching").Matching.from_detector_error_model(model)
    return matching.decode_batch(shots.detections).astype(bool)


@dataclass(frozen=True)
class Score:
    """How many shots a decoder got wrong: in any observable.

    ``low`` and ``high`` are the Wilson bounds of ``rate`` at one standard deviation.
    """

    name: str
    shots: int
    errors: int

    @property
    def rate(self):
        """Logical error rate per shot."""
        return self.errors / self.shots if self.shots else float("nan")

    def _wilson(self, sign):
        n = self.shots
        if not n:
            return float("nan")
        rate, z = self.rate, 1.0
        centre = (rate + z * z / (2 * n)) / (1 + z * z / n)
        spread = z / (1 + z * z / n) * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
        return min(1.0, max(0.0, centre + sign * spread))

    @property
    def low(self):
        return self._wilson(-1)

    @property
    def high(self):
        return self._wilson(1)


def score(name, found, shots):
    """The :class:`Score` of flips found, bool (shots, observables), against the true ones."""
    wrong = (np.asarray(found, bool) != np.asarray(shots.flips, bool)).any(axis=1)
    return Score(name, len(wrong), int(wrong.sum()))
