"""Sampled shots through the golden decoder, with what escapes it decoded by PyMatching.

For sinter's command line: ``--custom_decoders_module_function
quantacore.sim.qec.streaming:sinter_decoders``. Needs ``pip install 'quantacore[decoder]'``.
"""

from importlib.metadata import entry_points

import numpy as np

from quantacore.gateware.layouts.decoder import BASES
from quantacore.sim.golden.decoder.fast import decode_shots

try:
    import pymatching
    import sinter
except ImportError as error:
    raise ImportError(f"Decoding sampled shots needs the package {error.name}, which is not "
                      f"installed: pip install 'quantacore[decoder]'") from error

__all__ = ["CompiledStreamingDecoder", "StreamingDecoder", "decode_escapes", "sinter_decoders"]


def decode_escapes(model, nodes, escapes, shots):
    """Decode what escaped, each shot's defects together.

    Parameters
    ----------
    model : stim.DetectorErrorModel or pymatching.Matching
        Of the whole shot.
    nodes : numpy.ndarray
        ``(detectors, 3)``: basis, space and layer of each detector.
    escapes : numpy.ndarray
        Rows of shot, basis, layer, space.
    shots : int
        Number of shots.

    Returns
    -------
    numpy.ndarray
        ``(shots, observables)`` bool: flips to add to what the decoder said.
    """
    matching = (model if isinstance(model, pymatching.Matching)
                else pymatching.Matching.from_detector_error_model(model))
    flips = np.zeros((shots, matching.num_fault_ids), bool)
    if len(escapes):
        nodes = np.asarray(nodes)
        detector = np.full((BASES, nodes[:, 1].max() + 1, nodes[:, 2].max() + 1), -1)
        detector[tuple(nodes.T)] = np.arange(len(nodes))
        affected, row = np.unique(escapes[:, 0], return_inverse=True)
        syndromes = np.zeros((len(affected), len(nodes)), np.uint8)
        syndromes[row, detector[escapes[:, 1], escapes[:, 3], escapes[:, 2]]] = 1
        flips[affected] = matching.decode_batch(syndromes).astype(bool)
    return flips


def _compiler(name):
    """A function of the host's compiler, which models find by entry point."""
    found = [point for point in entry_points(group="quantacore.decoder_compiler")
             if point.name == name]
    if not found:
        raise RuntimeError(f"No decoder compiler ({name}) is installed: install quantacore again, "
                           f"or give an image and its nodes")
    return found[0].load()


class CompiledStreamingDecoder(sinter.CompiledDecoder):
    """The golden decoder for the shots of one detector error model.

    Parameters
    ----------
    dem : stim.DetectorErrorModel
    image : DecoderImage
    nodes : numpy.ndarray
        ``(detectors, 3)``: basis, space and layer of each detector of ``dem``.
    **settings
        ``commit``, ``buffer``, ``reach``, ``correlation`` of :func:`decode_shots`.
    """

    def __init__(self, dem, image, nodes, **settings):
        self.image = image
        self.nodes = np.asarray(nodes)
        self.settings = settings
        self._matching = pymatching.Matching.from_detector_error_model(dem)
        self._detectors = dem.num_detectors
        self._observables = dem.num_observables

    def decode(self, detections, **options):
        """Decode ``(shots, detectors)`` bool.

        Returns
        -------
        flips : numpy.ndarray
            ``(shots, observables)`` bool, with what escaped decoded by PyMatching.
        result : Result
            What the golden decoder alone says.
        """
        detections = np.asarray(detections)
        if detections.ndim != 2 or detections.shape[1] != self._detectors:
            raise ValueError(f"detections must have the shape (shots, {self._detectors}), "
                             f"not {detections.shape}")
        basis, space, layer = self.nodes.T
        layers = np.zeros((len(detections), BASES, layer.max(initial=0) + 1,
                           space.max(initial=0) + 1), np.uint8)
        layers[:, basis, layer, space] = detections
        result = decode_shots(self.image, layers, **{**self.settings, **options})
        flips = result.flips[:, :self._observables]
        escaped = decode_escapes(self._matching, self.nodes, result.escapes, len(detections))
        return flips ^ escaped[:, :self._observables], result

    def decode_shots_bit_packed(self, *, bit_packed_detection_event_data):
        """As sinter wants it."""
        detections = np.unpackbits(bit_packed_detection_event_data, axis=1, bitorder="little",
                                   count=self._detectors)
        flips, _ = self.decode(detections)
        return np.packbits(flips, axis=1, bitorder="little")


class StreamingDecoder(sinter.Decoder):
    """Compiles a detector error model and decodes its shots in sliding windows.

    Parameters
    ----------
    correlation : bool
        Whether the bases tell each other about likely edges.
    commit, buffer, reach : int, optional
        Settings of the run; default: what the compiler chooses.
    **options
        Of the compiler, ``quantacore.host.qec.compile_dem``.
    """

    def __init__(self, *, correlation=True, commit=None, buffer=None, reach=None, **options):
        self.settings = {"correlation": correlation, "commit": commit, "buffer": buffer,
                         "reach": reach}
        self.options = options

    def compile_decoder_for_dem(self, *, dem):
        """Compile; raises what the compiler raises."""
        image = _compiler("compile_dem")(dem, **self.options)
        return CompiledStreamingDecoder(dem, image, _compiler("detector_nodes")(image, dem),
                                        **self.settings)


def sinter_decoders():
    """Decoders by the names that sinter's command line knows them by."""
    return {"quantacore": StreamingDecoder(),
            "quantacore_uncorrelated": StreamingDecoder(correlation=False)}
