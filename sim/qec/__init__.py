"""Error correction experiments in simulation: the streaming decoder on sampled shots."""
