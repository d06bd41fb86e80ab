"""Time-tag files: every format there and back, and every way a file can be wrong."""

import bz2
import gzip
import io
import lzma
import os
import re
import struct
from pathlib import Path

import numpy as np
import pytest

from quantacore.gateware.layouts.tags import EpochRecord, LossCause, LostRecord, TagKind, TagRecord
from quantacore.host.tags import files
from quantacore.host.tags.files import TagFileError, read_tags, write_tags

pytest.importorskip("ptufile", reason="reads PTU files: pip install 'quantacore[files]'")

INT, FLOAT, TEXT, EMPTY = 0x10000008, 0x20000008, 0x4001FFFF, 0xFFFF0008
HYDRA_T2, HYDRA_V1_T2, PICO_T2, GENERIC_T2 = 0x01010204, 0x00010204, 0x00010203, 0x00010207
HYDRA_T3 = 0x01010304
QUTAG_MAGIC = bytes.fromhex("87b391fa")


def header_tag(name, kind, value, data=b""):
    value = struct.pack("<d" if kind == FLOAT else "<q", value)
    return struct.pack("<32siI", name.encode(), -1, kind) + value + data


def ptu(records, *, record_type=HYDRA_T2, resolution=1e-12, declared=None, **extra):
    """A PTU file, put together by hand from its published layout."""
    out = [b"PQTTTR\x00\x001.0.00\x00\x00"]
    mode = 3 if record_type >> 8 & 15 == 3 else 2
    for name, kind, value in (
        ("Measurement_Mode", INT, mode),
        ("Measurement_SubMode", INT, 0),
        ("TTResultFormat_TTTRRecType", INT, record_type),
        ("TTResultFormat_BitsPerRecord", INT, 32),
        ("MeasDesc_Resolution", FLOAT, extra.pop("delay_resolution", 1e-12)),
        ("MeasDesc_GlobalResolution", FLOAT, resolution),
        ("TTResult_NumberOfRecords", INT, len(records) if declared is None else declared),
        *((name, INT, value) for name, value in extra.items()),
        ("Header_End", EMPTY, 0),
    ):
        out.append(header_tag(name, kind, value))
    return b"".join(out) + np.array(records, dtype="<u4").tobytes()


def hydra(time, channel, special=0):
    return special << 31 | channel << 25 | time


def hydra_t3(sync, delay, channel, special=0):
    return special << 31 | channel << 25 | delay << 10 | sync


def qutag(rows, tail=b""):
    records = np.array(rows, dtype=[("time", "<u8"), ("channel", "<u2")])
    return QUTAG_MAGIC + bytes(36) + records.tobytes() + tail


@pytest.fixture
def load(tmp_path):
    def load(content, name="recording"):
        path = tmp_path / name
        path.write_bytes(content)
        return read_tags(path)
    return load


def random_tags(seed=1, number=5000, channels=3, step=40_000_000):
    generator = np.random.default_rng(seed)
    times = np.cumsum(generator.integers(0, step, number))
    return times, generator.integers(0, channels, number).astype(np.uint8)


@pytest.mark.parametrize("suffix", [".npz", ".ptu", ".csv"])
def test_written_recording_reads_back_tag_for_tag(tmp_path, suffix):
    times, channels = random_tags()
    tags = read_tags(write_tags(tmp_path / f"x{suffix}", times, channels))
    np.testing.assert_array_equal(tags.times_ps, times)
    np.testing.assert_array_equal(tags.channels, channels)
    assert (tags.times_ps.dtype, tags.channels.dtype) == (np.int64, np.uint8)
    assert tags.format == suffix[1:]


def test_ptu_with_gaps_of_many_overflows(tmp_path):
    times = np.array([0, 5, 1 << 25, (1 << 25) + 1, 1 << 40, (1 << 49) + 3])
    tags = read_tags(write_tags(tmp_path / "x.ptu", times, np.arange(6)))
    np.testing.assert_array_equal(tags.times_ps, times)
    assert tags.meta["records"] - len(tags) == tags.meta["overflows"] == 3


def test_empty_tail_of_recording_is_kept_in_npz(tmp_path):
    path = write_tags(tmp_path / "x.npz", [10], [0], duration_ps=1000, meta={"comment": "dark"})
    tags = read_tags(path)
    assert tags.duration_ps == 1000
    assert tags.meta["comment"] == "dark"


@pytest.mark.parametrize(("suffix", "compress"), [
    (".xz", lzma.compress), (".gz", gzip.compress), (".bz2", bz2.compress), ("", lzma.compress)])
def test_compression_is_told_from_the_content(load, suffix, compress):
    assert load(compress(qutag([(1, 0), (2, 1)])), f"x{suffix}").times_ps.tolist() == [1, 2]


def test_streams_of_compression_one_after_the_other(load):
    content = qutag([(1, 0), (2, 1)])
    assert len(load(gzip.compress(content[:45]) + gzip.compress(content[45:]))) == 2


def test_cut_compression_is_read_as_far_as_it_goes(load):
    times = np.random.default_rng(1).integers(0, 1 << 40, 50_000)
    content = lzma.compress(qutag(list(zip(np.sort(times), times % 2, strict=True))))
    tags = load(content[:len(content) // 2])
    assert 10_000 < len(tags) < 50_000
    assert any("ends in the middle" in line for line in tags.warnings)


def test_compression_without_content(load):
    with pytest.raises(TagFileError, match="broken xz file: nothing in it"):
        load(b"\xfd7zXZ\x00" + b"\x99" * 30)


def test_hydraharp_overflows_count_and_markers_are_not_tags(load):
    tags = load(ptu([hydra(5, 0), hydra(2, 63, 1), hydra(7, 1), hydra(0, 63, 1), hydra(3, 0),
                     hydra(4, 2, 1)]))
    assert tags.times_ps.tolist() == [5, (2 << 25) + 7, (3 << 25) + 3]
    assert tags.channels.tolist() == [0, 1, 0]
    assert (tags.meta["overflows"], tags.meta["markers"]) == (2, 1)


def test_long_pause_is_one_overflow_record(load):
    """ptufile 2026.2.6 multiplies this count in 32 bits."""
    tags = load(ptu([hydra(5, 0), hydra(1000, 63, 1), hydra(7, 1)]))
    assert tags.times_ps.tolist() == [5, (1000 << 25) + 7]


def test_hydraharp_version_1_overflow_is_33552000(load):
    tags = load(ptu([hydra(9, 63, 1), hydra(1, 0)], record_type=HYDRA_V1_T2))
    assert tags.times_ps.tolist() == [33_552_001]


def test_picoharp_ticks_are_4_ps(load):
    tags = load(ptu([15 << 28, 1 << 28 | 10], record_type=PICO_T2, resolution=4e-12))
    assert tags.times_ps.tolist() == [(210_698_240 + 10) * 4]
    assert tags.channels.tolist() == [1]


def test_sync_input_has_its_own_channel(load):
    tags = load(ptu([hydra(1, 0), hydra(2, 0, 1), hydra(3, 1)], record_type=GENERIC_T2,
                    HW_InpChannels=4))
    assert tags.channels.tolist() == [0, 4, 1]
    assert any("sync input are channel 4" in line for line in tags.warnings)


def test_t3_times_are_sync_periods_plus_delay(load):
    tags = load(ptu([hydra_t3(3, 100, 0), hydra_t3(1, 0, 63, 1), hydra_t3(2, 7, 1)],
                    record_type=HYDRA_T3, resolution=12.4954e-9, delay_resolution=16e-12))
    assert tags.times_ps.tolist() == [round(3 * 12495.4 + 1600), round(1026 * 12495.4 + 112)]
    assert any("T3 recording" in line for line in tags.warnings)


def test_resolution_that_is_no_whole_picosecond(load):
    tags = load(ptu([hydra(3, 0), hydra(5, 0)], resolution=2.5e-12))
    assert tags.times_ps.tolist() == [8, 12]


def test_qutag_is_sorted_stably_and_reorderings_are_counted(load):
    tags = load(qutag([(100, 1), (90, 0), (100, 2), (200, 0), (150, 3)]))
    assert tags.times_ps.tolist() == [90, 100, 100, 150, 200]
    assert tags.channels.tolist() == [0, 1, 2, 3, 0]
    assert tags.meta["reordered"] == 2
    assert any("sorted by time" in line for line in tags.warnings)


def test_qutag_starts_with_its_first_tag(load):
    tags = load(qutag([(10**13, 0), (10**13 + 500, 1)]))
    assert (tags.start_ps, tags.duration_ps) == (10**13, 500)


def test_qutag_with_cut_record(load):
    tags = load(qutag([(1, 0), (2, 0)], tail=b"\x01\x02\x03"))
    assert len(tags) == 2
    assert tags.warnings == ["The last record is cut: 3 bytes were left over"]


def test_ptu_with_fewer_records_than_declared(load):
    tags = load(ptu([hydra(1, 0), hydra(2, 0)], declared=10) + b"\x01")
    assert len(tags) == 2
    assert tags.warnings == ["The last record is cut: 1 bytes were left over",
                             "The file is cut: 2 of 10 records are there, 8 are missing"]


def test_ptu_that_was_not_closed(load):
    tags = load(ptu([hydra(1, 0), hydra(2, 0)], declared=0))
    assert len(tags) == 2
    assert "no number of records" in tags.warnings[0]


def test_ptu_with_more_records_than_declared(load):
    tags = load(ptu([hydra(1, 0), hydra(2, 0), hydra(3, 0)], declared=2))
    assert len(tags) == 2
    assert "1 records after the 2" in tags.warnings[0]


def test_node_records_are_read_back(load):
    words = [EpochRecord.const({"epoch": 0, "kind": TagKind.EPOCH}),
             TagRecord.const({"coarse": 2, "fine": 4096, "channel": 5}),
             TagRecord.const({"coarse": 3, "falling": 1, "channel": 5}),
             LostRecord.const({"count": 3, "cause": LossCause.BURST, "kind": TagKind.LOST})]
    content = np.array([word.as_bits() for word in words], dtype="<u8").tobytes()
    tags = load(files.qct_header(8000, 1) + content)
    assert (tags.times_ps.tolist(), tags.channels.tolist()) == ([20_000], [5])
    assert tags.meta["falling"] == 1
    assert any("3 edges were lost" in line for line in tags.warnings)


def test_csv_with_heading_and_other_separators(load):
    assert load(b"time,channel\n5,0\n7 1\n9;2\n").channels.tolist() == [0, 1, 2]


def test_csv_whose_last_line_is_cut(load):
    tags = load(b"5,0\n7,1\n9,")
    assert len(tags) == 2
    assert "last line (3) is cut" in tags.warnings[0]


def test_first_part_of_a_recording(load):
    tags = load(qutag([(100, 0), (150, 1), (300, 0)])).first(100)
    assert (tags.times_ps.tolist(), tags.duration_ps) == ([100, 150], 100)


def broken_header():
    content = bytearray(ptu([hydra(1, 0)]))
    content[16 + 36:16 + 40] = b"\x99\x99\x99\x99"
    return bytes(content)


@pytest.mark.parametrize(("content", "message"), [
    (b"", "is empty (0 bytes)"),
    (b"\x00\x01\x02\x03abcdefgh", "of no kind that is known here (it starts with 00 01 02 03"),
    (b"PQHISTO\x00" + bytes(40), "a PicoQuant histogram (.phu), it holds no single tags"),
    (b"PicoHarp 300\x00\x00" + bytes(40), "convert it to .ptu"),
    (b"PQTTTR\x00\x001.0", "header of "),
    (ptu([hydra(1, 0)])[:200], "is broken or cut (200 bytes are there"),
    (broken_header(), "a tag of unknown type"),
    (ptu([hydra(1, 0)], record_type=0x00010299), "records of type 0x00010299"),
    (ptu([hydra(1, 0)], resolution=0.0), "resolution of 0.0 ps"),
    (ptu([]), "ends after its header"),
    (ptu([hydra(1, 63, 1)]), "holds 1 records and no tag"),
    (QUTAG_MAGIC + bytes(3), "7 of 40 bytes"),
    (QUTAG_MAGIC + bytes(36), "ends after its header"),
    (qutag([(1, 0), (2, 40_000)]), "Record 1 of "),
    (b"PK\x03\x04" + bytes(60), "broken numpy archive"),
    (files.QCT_MAGIC, "8 of 32 bytes"),
    (b"QCTAGS\x00\x07" + bytes(24), "has version 7"),
    (files.qct_header(8000, 1) + bytes(8), "before the first EPOCH"),
    (b"once upon a time\nthere was\n", "is text without rows"),
    (b"1,0\n2,x\n3,0\n", "Line 2 of"),
    (b"0,123456789012\n", "is the time in the first column?"),
])
def test_bad_file_says_what_and_how_to_mend_it(load, content, message):
    with pytest.raises(TagFileError, match=re.escape(message)):
        load(content)


def test_missing_file(tmp_path):
    with pytest.raises(TagFileError, match="There is no file"):
        read_tags(tmp_path / "none.ptu")


def test_folder_instead_of_file(tmp_path):
    with pytest.raises(TagFileError, match="is a folder"):
        read_tags(tmp_path)


def test_archive_with_other_arrays(load):
    out = io.BytesIO()
    np.savez(out, a=[1])
    with pytest.raises(TagFileError, match="without times_ps and channels; it has a"):
        load(out.getvalue())


def test_archive_with_float_times(load):
    out = io.BytesIO()
    np.savez(out, times_ps=np.array([0.5]), channels=np.array([0]))
    with pytest.raises(TagFileError, match="must be integer columns"):
        load(out.getvalue())


def test_every_cut_of_a_ptu_gives_tags_or_a_message(load):
    content = ptu([hydra(n, n % 2) for n in range(1, 20)])
    for size in range(1, len(content), 7):
        try:
            assert len(load(content[:size])) < 20
        except TagFileError as error:
            assert "recording" in str(error)


@pytest.mark.parametrize(("times", "channels", "name", "message"), [
    ([2, 1], [0, 0], "x.npz", "Times must ascend"),
    ([1], [0, 0], "x.npz", "columns of one length"),
    ([1], [63], "x.ptu", "0 to 62"),
    ([-1], [0], "x.ptu", "can't be negative"),
    ([1], [0], "x.txt", "ends in .npz, .ptu or .csv"),
])
def test_wrong_columns_are_not_written(tmp_path, times, channels, name, message):
    with pytest.raises(ValueError, match=message):
        write_tags(tmp_path / name, times, channels)


def real_run():
    folder = Path(os.environ.get("QUANTACORE_DATA") or Path(__file__).parents[3] / "shared/data")
    path = folder / "timetags_hbt/200204_HH400_T2_320MHz_HBT.timeres.xz"
    if not path.exists():
        pytest.skip("needs the HydraHarp run in ../shared/data or QUANTACORE_DATA")
    return path


def test_real_hydraharp_run():
    tags = read_tags(real_run())
    assert (tags.meta["records"], tags.meta["overflows"]) == (409_482, 25_463)
    assert tags.counts() == {0: 159_298, 1: 224_721}
    assert tags.duration_ps == 999_986_166_686
    assert tags.warnings == []


def test_real_hydraharp_run_equals_ptufile():
    import ptufile

    path = real_run()
    ptu = ptufile.PtuFile(io.BytesIO(lzma.decompress(path.read_bytes())))
    decoded = ptu.decode_records()
    photons = decoded[decoded["channel"] >= 0]
    tags = read_tags(path)
    np.testing.assert_array_equal(tags.times_ps, photons["time"].astype(np.int64))
    np.testing.assert_array_equal(tags.channels, photons["channel"])
