"""What a decoder leaves to the host: clusters that are too large, windows that overflowed.

The escapes of one window and one basis are one syndrome. It is decoded here with PyMatching on
the whole model, and its flips come on top of (XOR) those that the node has committed.
"""

import numpy as np

from quantacore.host.qec.erasure import has_heralds
from quantacore.host.qec.graph import ModelError
from quantacore.host.qec.optional import require
from quantacore.host.qec.shots import detector_nodes

__all__ = ["EscapeDecoder"]


class EscapeDecoder:
    """Decodes escapes of shots of one model.

    Parameters
    ----------
    image : DecoderImage
        What the node decodes with.
    model : stim.Circuit or stim.DetectorErrorModel
        What the shots were taken with: as many rounds as a shot has.

    Raises
    ------
    ModelError
        The model is not one of this image's.
    """

    def __init__(self, image, model):
        stim = require("stim")
        if isinstance(model, stim.Circuit):
            model = model.detector_error_model(decompose_errors=True,
                                               approximate_disjoint_errors=has_heralds(model))
        self.detectors = model.num_detectors
        self.observables = model.num_observables
        self._matching = require("pymatching").Matching.from_detector_error_model(model)
        self._detector = {(basis, layer, space): number for number, (basis, space, layer) in
                          enumerate(detector_nodes(image, model).tolist())}
        #: Syndromes decoded here.
        self.decoded = 0

    def syndrome(self, basis, escapes):
        """Detectors of escapes ``(round, space)`` of one basis, as a uint8 array."""
        syndrome = np.zeros(self.detectors, np.uint8)
        for round_, space in escapes:
            try:
                syndrome[self._detector[basis, round_, space]] = 1
            except KeyError:
                raise ModelError(f"The model has no detector at space {space} of basis {basis} in "
                                 f"round {round_}: its shots have another number of rounds, or "
                                 f"another circuit was decoded") from None
        return syndrome

    def flips(self, shots):
        """Flips of all observables, escapes included: bool array (shots, observables).

        Parameters
        ----------
        shots : sequence of DecodedShot
        """
        result = np.zeros((len(shots), self.observables), bool)
        owners, syndromes = [], []
        for number, shot in enumerate(shots):
            result[number] = shot.observables(self.observables)
            for window in shot.windows:
                if window.escapes:
                    owners.append(number)
                    syndromes.append(self.syndrome(window.basis, window.escapes))
        if syndromes:
            found = self._matching.decode_batch(np.array(syndromes)).astype(bool)
            self.decoded += len(syndromes)
            np.logical_xor.at(result, owners, found)
        return result
