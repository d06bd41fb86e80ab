"""Three virtual nodes that herald entanglement: two emitters, and a station between them.

What :mod:`quantacore.host.heralding` drives. The host finds it by entry point.
"""

import numpy as np

from quantacore.gateware.node import NodeConfig
from quantacore.sim.node.build import build_node
from quantacore.sim.node.engine import Engine
from quantacore.sim.node.network import EmitterLines, Link, Network, Optics
from quantacore.sim.photonics.detectors import Detector
from quantacore.sim.photonics.heralding import (
    Arm,
    Emitter,
    Fibre,
    Midpoint,
    dark_probability,
    kept_fraction,
    single_click,
    two_click,
)

__all__ = ["HeraldingStar"]

#: Lines of an emitter's node: what they do to the emitter when they rise.
PREPARE, EXCITE, FLIP = 0, 1, 2
#: Line of the station that rises after a success.
SUCCESS = 0
#: Lines for data between two nodes.
LANES = 8
_CLOCK_HZ = 125_000_000


class HeraldingStar:
    """Nodes ``alice``, ``bob`` and ``station``, fibres, emitters and detectors.

    An emitter's node prepares its emitter with TTL line 0, excites it with line 1, flips it with
    line 2. Its peer port 0 is joined to port 0 (alice) or 1 (bob) of the station, by lines as long
    as the fibre. The station's TTL line 0 rises after a success, and then it is looked whether
    the emitters' states differ. Detectors are the station's inputs 0 and 1.

    Parameters
    ----------
    length_m : float
        Of each fibre.
    efficiency : (float, float)
        Of the emitters, all that is lost before the detectors included except the fibres.
    detector_efficiency, dark_hz, dead_time_ps, jitter_ps
        Of both detectors.
    lifetime_ps : float
        Of both emitters.
    visibility : float
        See :func:`~quantacore.sim.photonics.heralding.single_click`.
    seed : int
    train : bool
        See :class:`~quantacore.sim.node.engine.Engine`.
    progress : BuildProgress or None
        Told about the build of the node.
    """

    names = ("alice", "bob", "station")

    def __init__(self, *, length_m=20.0, efficiency=(0.5, 0.4), detector_efficiency=0.8,
                 dark_hz=20_000.0, dead_time_ps=40_000, jitter_ps=100.0, lifetime_ps=12_000.0,
                 visibility=0.9, seed=1, train=False, progress=None):
        fibre = Fibre(length_m=length_m)
        self.arms = [Arm(emitter=Emitter(efficiency=value, lifetime_ps=lifetime_ps), fibre=fibre)
                     for value in efficiency]
        self.detector = Detector(efficiency=detector_efficiency, dark_hz=dark_hz,
                                 dead_time_ps=dead_time_ps, jitter_ps=jitter_ps)
        self.midpoint = Midpoint(self.arms, (self.detector, self.detector), visibility=visibility,
                                 rng=np.random.default_rng(seed))
        emitters = [EmitterLines(node=name, prepare=f"ttl[{PREPARE}]", excite=f"ttl[{EXCITE}]",
                                 flip=f"ttl[{FLIP}]") for name in self.names[:2]]
        optics = Optics(self.midpoint, emitters, station="station", channels=(0, 1),
                        judge=f"ttl[{SUCCESS}]")
        config = NodeConfig(channels=2, samples=4, fine=False, clock_hz=_CLOCK_HZ,
                            buffer_depth=1024, row_depth=64, sequencer=1, herald=True,
                            lanes=LANES, simulated=True)
        library = build_node(config, train=train, progress=progress)
        nodes = {name: Engine(config, component=library,
                              live=optics.live if name == "station" else None)
                 for name in self.names}
        #: Ticks that light, and signals beside it, take through a fibre, rounded up.
        self.fibre_ticks = -(-fibre.delay_ps * _CLOCK_HZ // 10**12)
        links = [Link(first=("station", port), second=(name, 0), delay_ticks=self.fibre_ticks)
                 for port, name in enumerate(self.names[:2])]
        for engine in nodes.values():
            engine.record([])
        self.network = Network(nodes, links=links, optics=[optics], seed=seed)
        #: From the tick of an excitation to the first photon.
        self.flight_ps = fibre.delay_ps

    def close(self):
        """Close all nodes."""
        self.network.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def set(self, *, bright, open=(1.0, 1.0)):
        """Set the emitters: the part of the bright state when they are prepared, and what an
        attenuator in each arm lets through. What was counted before is forgotten."""
        midpoint = self.midpoint
        midpoint.bright, midpoint.open = bright, list(open)
        midpoint.judged = midpoint.correct = 0
        midpoint.excited, midpoint.arrived, midpoint.clicks = [0, 0], [0, 0], [0, 0]

    @property
    def judged(self):
        """Successes, and in how many of them the emitters' states differed."""
        return self.midpoint.judged, self.midpoint.correct

    def expected(self, protocol, *, before_ps, after_ps):
        """The closed form for these settings, as a dictionary.

        Parameters
        ----------
        protocol : str
            ``"single-click"`` or ``"two-click"``.
        before_ps, after_ps : float
            How long before the first photon may come a window opens, and how long after it closes.
        """
        midpoint = self.midpoint
        first, second = (
            arm.efficiency * part * self.detector.efficiency
            * kept_fraction(after_ps, arm.emitter.lifetime_ps)
            for arm, part in zip(self.arms, midpoint.open, strict=True))
        settings = {"first": first, "second": second, "visibility": midpoint.visibility,
                    "dark": dark_probability(self.detector.dark_hz, before_ps + after_ps)}
        if protocol == "single-click":
            herald = single_click(alpha=midpoint.bright, **settings)
        elif protocol == "two-click":
            herald = two_click(**settings)
        else:
            raise ValueError(f"Protocols are \"single-click\" and \"two-click\", "
                             f"not {protocol!r}")
        return {"probability": herald.probability, "correct": herald.correct,
                "fidelity": herald.fidelity}
