"""The benchmark of the decoder's size: which figures stand beside which."""

import pytest

pytest.importorskip("stim")
pytest.importorskip("scipy")

CELLS = {"lut4": 5000, "dff": 2000, "bram": 30, "dsp": 0}


@pytest.fixture
def area(script):
    return script("decoder_area")


def test_synthesis_alone_has_no_clock(area, monkeypatch):
    monkeypatch.setattr(area, "decoder_of", lambda distance: (None, None))
    monkeypatch.setattr(area, "ShiftWrapper", lambda component: component)
    monkeypatch.setattr(area, "synthesise", lambda *_arguments, **_words: CELLS)
    rows = area.distance_rows(3, route=False, progress=print)
    assert {row.name.rpartition("/")[2]: row.figure for row in rows} == {
        **CELLS, "lut4_over_helios": 5000}


def test_helios_stands_beside_the_distances_it_was_measured_at(area):
    assert [row.anchor for row in area.helios_rows("decoder_area/d5", 5, 1, 50)] == [20_813, 47]
    assert area.helios_rows("decoder_area/d7", 7, 1, 50) == []


@pytest.mark.parametrize("distance, lut4, names", [
    (7, 41_820, []), (7, 41_821, ["decoder_area/d7/lut4"]), (9, 80_000, [])])
def test_flagship_fits_half_of_the_part(area, distance, lut4, names):
    rows = area.cells_rows(f"decoder_area/d{distance}", {**CELLS, "lut4": lut4}, "placed")
    assert area.too_large(rows) == names


def test_smallest_decoder_has_no_second_pass(area):
    from quantacore.host.qec import compile_circuit

    image = compile_circuit(lambda rounds: area_memory(rounds), **area.SMALL)
    assert (image.shape.capacity, image.shape.cluster, image.shape.delta_bits,
            image.shape.correlation) == (8, 6, 1, False)


def area_memory(rounds):
    import stim

    return stim.Circuit.generated("surface_code:rotated_memory_z", distance=3, rounds=rounds,
                                  after_clifford_depolarization=0.003,
                                  before_measure_flip_probability=0.003)
