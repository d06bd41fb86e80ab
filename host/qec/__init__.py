"""Quantum error correction on the host: from Stim models to decoder images.

``compile_circuit`` and ``compile_dem`` make the image that a streaming decoder is loaded with;
``shot_layers`` puts detection events into its order, ``expand_match`` turns a match back into the
edges of a correction, ``fit`` says what an image takes of a part's block RAM, ``EscapeDecoder``
decodes what a node leaves to the host.

Needs ``pip install 'quantacore[decoder]'`` where models are read.
"""

from quantacore.host.qec.capacity import FitReport, fit
from quantacore.host.qec.compiler import DecoderCapacityError, compile_circuit, compile_dem
from quantacore.host.qec.erasure import shot_heralds
from quantacore.host.qec.escapes import EscapeDecoder
from quantacore.host.qec.graph import ModelError
from quantacore.host.qec.shots import (
    CorrectionEdge,
    detector_nodes,
    expand_match,
    shot_layers,
)

__all__ = ["DecoderCapacityError", "EscapeDecoder", "ModelError", "compile_circuit", "compile_dem",
           "FitReport", "fit", "CorrectionEdge",
           "detector_nodes", "expand_match", "shot_heralds", "shot_layers"]
