"""Light: photon sources and what detectors make of them."""
