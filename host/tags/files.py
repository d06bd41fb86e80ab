"""Time-tag files: recordings of other instruments and of QuantaCore's own.

============  ==========================================  =======  =======
format        what                                        read     write
============  ==========================================  =======  =======
``ptu``       PicoQuant unified T2 and T3 (``.ptu``,      yes      T2
              ``.timeres``, any file that starts with
              ``PQTTTR``)
``qutag``     qutools quTAG/quTAU binary, 10-byte         yes      no
              records after a 40-byte header
``npz``       QuantaCore columns, numpy ``.npz``          yes      yes
``qct``       QuantaCore records as a node sends them     yes      yes
``csv``       two columns, time in ps and channel         yes      yes
============  ==========================================  =======  =======

The kind is told from the content, never from the name, and ``.xz``, ``.gz`` and ``.bz2``
compression is undone on the way. A file that can't be read raises :class:`TagFileError`, whose
message says what is wrong, where, and what to do; a file whose tail is cut is read as far as it
goes, with a line in :attr:`TagFile.warnings`.
"""

import bz2
import hashlib
import io
import json
import lzma
import struct
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

__all__ = ["TagFileError", "TagFile", "read_tags", "read_columns", "write_tags", "qct_header",
           "QCT_MAGIC"]

#: First bytes of a file of QuantaCore records; the last one is the version.
QCT_MAGIC = b"QCTAGS\x00\x01"
_QCT_HEADER = struct.Struct("<8sQQQ")

_PTU_MAGIC = b"PQTTTR\x00\x00"
_QUTAG_MAGIC = b"\x87\xb3\x91\xfa"
_QUTAG_HEADER = 40
_QUTAG_RECORD = np.dtype([("time", "<u8"), ("channel", "<u2")])

#: Compressed bytes taken at a time.
_STEP = 1 << 16

_KINDS = ("PicoQuant .ptu/.timeres (T2 or T3), quTAG 10-byte binary, QuantaCore .npz or .qct, or "
          "two-column CSV (time in ps, channel), each also as .xz, .gz or .bz2")


class TagFileError(ValueError):
    """A time-tag file that can't be used. The message says what is wrong and what to do."""


@dataclass(kw_only=True)
class TagFile:
    """One recording.

    Attributes
    ----------
    times_ps : numpy.ndarray
        int64, ascending, picoseconds on the recording's own clock.
    channels : numpy.ndarray
        uint8, one per tag.
    start_ps : int
        When the recording starts on that clock: 0 for formats that count from their start, else
        the time of the first tag.
    duration_ps : int
        From ``start_ps`` to the last tag, or longer where the file says so.
    format : str
        A name from the table at the top of this module.
    meta : dict
        What the file says about itself, plus ``records`` (how many 4-, 8- or 10-byte records),
        ``overflows`` (how many of them carry no tag), ``reordered`` (records that came after a
        later one), ``sha256`` (of the file as it is on disk).
    warnings : list of str
        What was odd but did not prevent reading.
    attempts : numpy.ndarray or None
        int64, the attempt of each tag (:func:`~quantacore.host.tags.attempts.attempt_numbers`);
        only ``qct`` of a node with a herald unit.
    events : numpy.ndarray or None
        int64, the event id of each tag (:func:`~quantacore.host.tags.attempts.event_ids`); only
        ``qct``.
    """

    times_ps: np.ndarray
    channels: np.ndarray
    duration_ps: int
    format: str
    start_ps: int = 0
    meta: dict = field(default_factory=dict)
    warnings: list = field(default_factory=list)
    attempts: np.ndarray | None = None
    events: np.ndarray | None = None

    def __len__(self):
        return len(self.times_ps)

    def channel(self, number):
        """Times of one channel, as a view or copy of int64 picoseconds."""
        return self.times_ps[self.channels == number]

    def counts(self):
        """Tags on each channel that has any, as a dict."""
        numbers, counts = np.unique(self.channels, return_counts=True)
        return dict(zip(numbers.tolist(), counts.tolist(), strict=True))

    def first(self, duration_ps):
        """The part from the start that is ``duration_ps`` long, as a :class:`TagFile`."""
        if duration_ps <= 0:
            raise ValueError(f"Duration must be positive, not {duration_ps} ps")
        if duration_ps >= self.duration_ps:
            return self
        end = np.searchsorted(self.times_ps, self.start_ps + duration_ps)
        return TagFile(times_ps=self.times_ps[:end], channels=self.channels[:end],
                       duration_ps=duration_ps, format=self.format, start_ps=self.start_ps,
                       meta=self.meta | {"part_ps": duration_ps}, warnings=self.warnings,
                       attempts=None if self.attempts is None else self.attempts[:end],
                       events=None if self.events is None else self.events[:end])


def read_tags(path):
    """Read a recording of any supported kind.

    Parameters
    ----------
    path : str or os.PathLike

    Returns
    -------
    TagFile

    Raises
    ------
    TagFileError
        For anything that can't be read: not a file, unknown kind, header or compression broken,
        no tags inside, a record type without a decoder.
    """
    path = Path(path)
    try:
        stored = path.read_bytes()
    except FileNotFoundError:
        raise TagFileError(f"There is no file {path}; check the name") from None
    except IsADirectoryError:
        raise TagFileError(f"{path} is a folder; name the recording inside it") from None
    except OSError as error:
        raise TagFileError(f"Can't read {path}: {error.strerror}") from None
    if not stored:
        raise TagFileError(f"{path} is empty (0 bytes); was the recording or the copy of it cut "
                           f"short?")
    warnings = []
    content = _decompress(stored, path, warnings)
    reader, form = _recognise(content, path)
    tags = reader(content, path, warnings)
    tags.format = form
    tags.warnings = warnings
    tags.meta["sha256"] = hashlib.sha256(stored).hexdigest()
    tags.meta["name"] = path.name
    return _finish(tags, path)


def read_columns(path):
    """Times in picoseconds from the start of a recording, and channels, as two arrays.

    What the simulator replays a file with (entry point group ``quantacore.tag_readers``).

    Raises
    ------
    TagFileError
    """
    tags = read_tags(path)
    return tags.times_ps - tags.start_ps, tags.channels


def _decompress(stored, path, warnings):
    kinds = [
        (b"\xfd7zXZ\x00", "xz", lzma.LZMADecompressor),
        (b"\x1f\x8b", "gzip", lambda: zlib.decompressobj(wbits=31)),
        (b"BZh", "bzip2", bz2.BZ2Decompressor),
    ]
    kind = next((kind for kind in kinds if stored.startswith(kind[0])), None)
    if kind is None:
        return stored
    magic, name, make = kind
    parts = []
    # A compressed file may be several streams one after the other (`cat a.xz b.xz`).
    while stored.startswith(magic):
        decompressor = make()
        done = 0
        try:
            # In steps, so that what precedes a damaged place is still had.
            while done < len(stored) and not decompressor.eof:
                parts.append(decompressor.decompress(stored[done:done + _STEP]))
                done += _STEP
        except (lzma.LZMAError, zlib.error, OSError) as error:
            warnings.append(f"The {name} compression is damaged ({error}); what precedes the "
                            f"damage was read")
            break
        if not decompressor.eof:
            warnings.append(f"The {name} file ends in the middle; what is there was read")
            break
        # Between xz streams there may be padding.
        stored = (decompressor.unused_data + stored[done:]).lstrip(b"\x00")
        if stored and not stored.startswith(magic):
            warnings.append(f"{len(stored)} bytes after the end of the {name} stream were ignored")
    content = b"".join(parts)
    if not content:
        raise TagFileError(f"{path} is a broken {name} file: nothing in it could be decompressed; "
                           f"copy it again")
    return content


def _recognise(content, path):
    if content.startswith(b"PQTTTR"):
        return _read_ptu, "ptu"
    if content.startswith(_QUTAG_MAGIC):
        return _read_qutag, "qutag"
    if content.startswith(QCT_MAGIC[:7]):
        return _read_qct, "qct"
    if content.startswith(b"PK\x03\x04"):
        return _read_npz, "npz"
    head = content[:64]
    for magic, what in (
        (b"PQHISTO", "a PicoQuant histogram (.phu), it holds no single tags; record in T2 or T3 "
                     "mode"),
        (b"HydraHarp 400", "an old PicoQuant file (.ht2/.ht3/.hhd); convert it to .ptu with "
                           "PicoQuant's software"),
        (b"PicoHarp 300", "an old PicoQuant file (.pt2/.pt3/.phd); convert it to .ptu with "
                          "PicoQuant's software"),
        (b"TimeHarp", "an old PicoQuant file (.t3r/.thd); convert it to .ptu with PicoQuant's "
                      "software"),
        (b"SITT", "a Swabian .ttbin, which only the vendor's library reads; export it as CSV "
                  "(time in ps, channel) with its FileReader"),
    ):
        if head.startswith(magic):
            raise TagFileError(f"{path} is {what}")
    if all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head):
        return _read_csv, "csv"
    raise TagFileError(f"{path} is of no kind that is known here (it starts with "
                       f"{content[:8].hex(' ')}); give {_KINDS}")


def _finish(tags, path):
    times = tags.times_ps
    if not len(times):
        raise TagFileError(f"{path} holds {tags.meta.get('records', 0)} records and no tag among "
                           f"them; was a detector connected?")
    if times.dtype != np.int64:
        times = times.astype(np.int64)
    backward = times[1:] < times[:-1]
    tags.meta["reordered"] = int(np.count_nonzero(backward))
    if tags.meta["reordered"]:
        order = np.argsort(times, kind="stable")
        tags.times_ps, tags.channels = times[order], tags.channels[order]
        for name in ("attempts", "events"):
            column = getattr(tags, name)
            setattr(tags, name, None if column is None else column[order])
        tags.warnings.append(f"{tags.meta['reordered']} tags came after a later one (instruments "
                             f"interleave channels so); all were sorted by time")
    else:
        tags.times_ps = times
    # A recording without a defined zero (times since the instrument was switched on) starts with
    # its first tag; the others count from their own start.
    last = int(tags.times_ps[-1])
    first = int(tags.times_ps[0])
    tags.start_ps = first if tags.start_ps is None else tags.start_ps
    if first < tags.start_ps:
        tags.start_ps = first
    if not tags.duration_ps or tags.start_ps + tags.duration_ps < last:
        tags.duration_ps = last - tags.start_ps
    return tags


# PicoQuant -----------------------------------------------------------------------------------

def _read_ptu(content, path, warnings):
    try:
        import ptufile
    except ImportError:
        raise TagFileError(f"{path} is a PicoQuant file and its reader is not installed; "
                           f"pip install 'quantacore[files]'") from None
    try:
        ptu = ptufile.PtuFile(io.BytesIO(content))
    except Exception as error:  # the reader raises several kinds for a header that ends early
        raise TagFileError(f"The header of {path} is broken or cut ({len(content)} bytes are "
                           f"there; {error}); copy the file again") from None
    # The reader stops at a tag of unknown type without an error, in the middle of the header.
    if not content[ptu.record_offset - 48:].startswith(b"Header_End"):
        raise TagFileError(f"The header of {path} is broken near byte {ptu.record_offset}: it has "
                           f"a tag of unknown type; copy the file again")
    tags = ptu.tags
    for name in ("TTResultFormat_TTTRRecType", "MeasDesc_GlobalResolution"):
        if name not in tags:
            raise TagFileError(f"The header of {path} has no {name}, so its times have no "
                               f"meaning; record it again")
    record_type = tags["TTResultFormat_TTTRRecType"]
    try:
        kind = ptufile.PtuRecordType(record_type)
    except ValueError:
        raise TagFileError(
            f"{path} has records of type {record_type:#010x}, which no decoder here knows; known "
            f"are {', '.join(f'{kind.name} ({kind:#010x})' for kind in ptufile.PtuRecordType)}"
        ) from None
    if tags.get("TTResultFormat_BitsPerRecord", 32) not in (0, 32):
        raise TagFileError(f"{path} has records of {tags['TTResultFormat_BitsPerRecord']} bits; "
                           f"PicoQuant's have 32: the header is broken")
    resolution_ps = float(tags["MeasDesc_GlobalResolution"]) * 1e12
    if not 0 < resolution_ps < 1e15:
        raise TagFileError(f"{path} gives a time resolution of {resolution_ps} ps: the header is "
                           f"broken")

    body = len(content) - ptu.record_offset
    count = body // 4
    if body % 4:
        warnings.append(f"The last record is cut: {body % 4} bytes were left over")
    declared = int(tags.get("TTResult_NumberOfRecords", 0))
    if declared <= 0:
        warnings.append(f"The header gives no number of records (the measurement was not closed "
                        f"properly); all {count} that follow were read")
    elif count < declared:
        warnings.append(f"The file is cut: {count} of {declared} records are there, "
                        f"{declared - count} are missing")
    elif count > declared:
        warnings.append(f"{count - declared} records after the {declared} that the header gives "
                        f"were ignored")
        count = declared
    records = np.frombuffer(content, dtype="<u4", count=count, offset=ptu.record_offset)
    meta = {
        "record_type": f"{kind.name} ({kind:#010x})",
        "records": count,
        "device": tags.get("HW_Type"),
        "comment": tags.get("File_Comment"),
        "resolution_ps": resolution_ps,
        "acquisition_ms": tags.get("TTResult_StopAfter"),
    }
    if not count:
        raise TagFileError(f"{path} ends after its header, there are no records")
    if kind.name in ("HydraHarp2T2", "TimeHarp260NT2", "TimeHarp260PT2", "GenericT2"):
        time, channels, photon, marker, sync = _decode_t2(records)
    else:
        decoded = ptu.decode_records(records)
        time, channels = decoded["time"], decoded["channel"].astype(np.uint8)
        photon = decoded["channel"] >= 0
        marker = (decoded["marker"] != 0) & ~photon
        # ptufile calls both the sync input and input 0 of the first HydraHarp "channel 0".
        sync = (records >> 25 == 0x40) & (kind.name == "HydraHarpT2")
    meta["markers"] = int(np.count_nonzero(marker))
    meta["overflows"] = int(count - np.count_nonzero(photon) - meta["markers"])
    if ptu.is_t3:
        # Sync pulses of a T3 recording are counted, not timed: a tag is so many sync periods
        # after the start plus its delay. Float64 is exact far below 1 ps for hours.
        delay_ps = float(tags["MeasDesc_Resolution"]) * 1e12
        times = np.rint(time.astype(np.float64) * resolution_ps
                        + decoded["dtime"] * delay_ps).astype(np.int64)
        meta["sync_period_ps"] = resolution_ps
        warnings.append(f"T3 recording: times are sync number x {resolution_ps:.6g} ps (the sync "
                        f"rate of the header) + delay; jitter and drift of the laser between "
                        f"pulses are not in it")
    else:
        times = _scale(time, resolution_ps)
    if sync.any():
        number = max(int(tags.get("HW_InpChannels", 0)),
                     int(channels[photon & ~sync].max(initial=0)) + 1)
        channels[sync] = number
        meta["sync_channel"] = number
        warnings.append(f"Tags of the sync input are channel {number}; inputs count from 0")
    return TagFile(times_ps=times[photon], channels=channels[photon], duration_ps=0, format="ptu",
                   start_ps=0, meta=meta)


def _decode_t2(records):
    """T2 records of the HydraHarp family, version 2: 25 bits of time, 6 of channel, 1 special.

    ptufile has a decoder for these, but it multiplies the count of an overflow record in 32 bits
    (seen in 2026.2.6): a pause of more than 4.3 ms, as in any dim recording, shifts all that
    follows. It also gives the sync input and input 0 the same number.
    """
    channels = (records >> 25 & 0x3F).astype(np.uint8)
    special = records >> 31 != 0
    overflow = special & (channels == 0x3F)
    sync = special & (channels == 0)
    time = (records & (1 << 25) - 1).astype(np.int64)
    # An overflow record without a count is a single one.
    wraps = np.cumsum(np.where(overflow, np.maximum(time, 1), 0))
    return time + (wraps << 25), channels, ~special | sync, special & ~overflow & ~sync, sync


def _scale(units, resolution_ps):
    whole = round(resolution_ps)
    if whole and abs(resolution_ps - whole) < 1e-6 * whole:
        return units.astype(np.int64) * whole
    return np.rint(units.astype(np.float64) * resolution_ps).astype(np.int64)


# quTAG ---------------------------------------------------------------------------------------

def _read_qutag(content, path, warnings):
    if len(content) < _QUTAG_HEADER:
        raise TagFileError(f"{path} ends in its header: {len(content)} of {_QUTAG_HEADER} bytes "
                           f"are there; copy the file again")
    body = len(content) - _QUTAG_HEADER
    count, left = divmod(body, _QUTAG_RECORD.itemsize)
    if not count:
        raise TagFileError(f"{path} ends after its header, there are no records")
    records = np.frombuffer(content, dtype=_QUTAG_RECORD, count=count, offset=_QUTAG_HEADER)
    channels = records["channel"]
    wrong = np.flatnonzero((channels > 255) | (records["time"] >> 63 != 0))
    if len(wrong):
        raise TagFileError(
            f"Record {wrong[0]} of {path} (byte {_QUTAG_HEADER + 10 * wrong[0]}) names channel "
            f"{channels[wrong[0]]} at time {records['time'][wrong[0]]}: these are not 10-byte "
            f"records; save the recording as \"binary, 10 bytes\", not as compressed binary")
    if left:
        warnings.append(f"The last record is cut: {left} bytes were left over")
    return TagFile(times_ps=records["time"].astype(np.int64), channels=channels.astype(np.uint8),
                   duration_ps=0, format="qutag", start_ps=None,
                   meta={"records": count, "overflows": 0, "resolution_ps": 1.0,
                         "device": "qutools quTAG"})


# QuantaCore's own ----------------------------------------------------------------------------

def _read_npz(content, path, warnings):
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            missing = [name for name in ("times_ps", "channels") if name not in arrays]
            if missing:
                raise TagFileError(f"{path} is a numpy archive without {' and '.join(missing)}; "
                                   f"it has {', '.join(arrays.files) or 'nothing'}")
            times, channels = arrays["times_ps"], arrays["channels"]
            start = int(arrays["start_ps"]) if "start_ps" in arrays else None
            duration = int(arrays["duration_ps"]) if "duration_ps" in arrays else 0
            meta = json.loads(str(arrays["meta"])) if "meta" in arrays else {}
    except (zipfile.BadZipFile, EOFError, zlib.error, KeyError) as error:
        raise TagFileError(f"{path} is a broken numpy archive ({error}); copy it again") from None
    except ValueError as error:
        if isinstance(error, TagFileError):
            raise
        raise TagFileError(f"{path} is not a plain numpy archive ({error})") from None
    if times.ndim != 1 or times.shape != channels.shape or \
            times.dtype.kind not in "iu" or channels.dtype.kind not in "iu":
        raise TagFileError(f"{path}: times_ps and channels must be integer columns of one length, "
                           f"not {times.dtype}{list(times.shape)} and "
                           f"{channels.dtype}{list(channels.shape)}")
    if len(channels) and not 0 <= int(channels.min()) <= int(channels.max()) <= 255:
        raise TagFileError(f"{path}: channels must lie in 0 to 255, not {channels.min()} to "
                           f"{channels.max()}")
    return TagFile(times_ps=times.astype(np.int64), channels=channels.astype(np.uint8),
                   duration_ps=duration, format="npz", start_ps=start,
                   meta=meta | {"records": len(times), "overflows": 0})


def _read_qct(content, path, warnings):
    from quantacore.host.tags.attempts import attempt_numbers, event_ids
    from quantacore.host.tags.decode import DecodeState, TagStreamError, decode, ticks_to_ps

    if len(content) < _QCT_HEADER.size:
        raise TagFileError(f"{path} ends in its header: {len(content)} of {_QCT_HEADER.size} "
                           f"bytes are there; copy the file again")
    magic, numerator, denominator, duration = _QCT_HEADER.unpack_from(content)
    if magic != QCT_MAGIC:
        raise TagFileError(f"{path} has version {magic[7]} of the record format, this program "
                           f"reads {QCT_MAGIC[7]}; use the QuantaCore that wrote it")
    if not numerator or not denominator:
        raise TagFileError(f"{path} gives no length of a tick: the header is broken")
    count, left = divmod(len(content) - _QCT_HEADER.size, 8)
    if left:
        warnings.append(f"The last record is cut: {left} bytes were left over")
    records = np.frombuffer(content, dtype="<u8", count=count, offset=_QCT_HEADER.size)
    state = DecodeState()
    try:
        columns = decode(records, state)
        attempts = attempt_numbers(columns, state) if state.heralds else None
    except TagStreamError as error:
        raise TagFileError(f"{path}: {error}") from None
    if state.lost:
        warnings.append(f"{state.lost} edges were lost while this was recorded "
                        f"({len(state.overflows)} overflows)")
    keep = ~columns.falling
    return TagFile(times_ps=ticks_to_ps(columns.times[keep], numerator, denominator),
                   channels=columns.channels[keep], duration_ps=duration, format="qct", start_ps=0,
                   meta={"records": count, "overflows": count - len(columns.times),
                         "lost": state.lost, "falling": int(np.count_nonzero(columns.falling))},
                   attempts=None if attempts is None else attempts[keep],
                   events=event_ids(columns, state)[keep])


# Text ----------------------------------------------------------------------------------------

def _read_csv(content, path, warnings):
    lines = content.splitlines()
    skipped = 0
    while skipped < len(lines) and not _is_row(lines[skipped]) and skipped < 32:
        skipped += 1
    if skipped == len(lines) or skipped == 32:
        raise TagFileError(f"{path} is text without rows of time and channel; the first line is "
                           f"{lines[0][:40].decode(errors='replace')!r}; give {_KINDS}")
    rows = []
    for number, line in enumerate(lines[skipped:], skipped + 1):
        if not line.strip():
            continue
        cells = _cells(line)
        try:
            rows.append((int(cells[0]), int(cells[1])))
        except (ValueError, IndexError):
            if number == len(lines) and not content.endswith(b"\n"):
                warnings.append(f"The last line ({number}) is cut and was ignored")
                continue
            raise TagFileError(f"Line {number} of {path} is not \"time in ps, channel\": "
                               f"{line[:40].decode(errors='replace')!r}; both must be whole "
                               f"numbers") from None
    table = np.array(rows, dtype=np.int64).reshape(-1, 2)
    if len(table) and not 0 <= table[:, 1].min() <= table[:, 1].max() <= 255:
        raise TagFileError(f"{path}: channels must lie in 0 to 255, not {table[:, 1].min()} to "
                           f"{table[:, 1].max()}; is the time in the first column?")
    return TagFile(times_ps=table[:, 0].copy(), channels=table[:, 1].astype(np.uint8),
                   duration_ps=0, format="csv", start_ps=None,
                   meta={"records": len(table), "overflows": 0})


def _cells(line):
    return line.replace(b",", b" ").replace(b";", b" ").split()


def _is_row(line):
    try:
        time, channel, *_ = _cells(line)
        int(time), int(channel)
    except ValueError:
        return False
    return True


# Writing -------------------------------------------------------------------------------------

def write_tags(path, times_ps, channels, *, duration_ps=None, start_ps=0, meta=None):
    """Write a recording; the suffix of ``path`` chooses the format.

    Parameters
    ----------
    path : str or os.PathLike
        Ends in ``.npz``, ``.ptu`` (HydraHarp V2 T2 records of 1 ps) or ``.csv``.
    times_ps : array-like
        Whole picoseconds, ascending, not negative (for ``.ptu``, relative to ``start_ps``).
    channels : array-like
        0 to 255 (``.ptu``: 0 to 62), one per time.
    duration_ps : int, optional
        Length of the recording; up to the last tag if not given.
    start_ps : int
        When the recording starts. A ``.ptu`` always starts at 0, so it is subtracted there.
    meta : dict, optional
        Kept in an ``.npz`` (must be JSON); ``comment`` and ``device`` are kept in a ``.ptu``.

    Returns
    -------
    pathlib.Path
    """
    path = Path(path)
    times = np.asarray(times_ps, dtype=np.int64)
    channels = np.asarray(channels)
    if times.shape != channels.shape or times.ndim != 1:
        raise ValueError(f"Times and channels must be columns of one length, not "
                         f"{list(times.shape)} and {list(channels.shape)}")
    if len(times) and np.any(times[1:] < times[:-1]):
        raise ValueError("Times must ascend; sort them (and their channels) first")
    limit = 62 if path.suffix == ".ptu" else 255
    if len(channels) and not 0 <= int(channels.min()) <= int(channels.max()) <= limit:
        raise ValueError(f"Channels must lie in 0 to {limit}, not {channels.min()} to "
                         f"{channels.max()}")
    if duration_ps is None:
        duration_ps = int(times[-1]) - start_ps if len(times) else 0
    meta = dict(meta or {})
    if path.suffix == ".npz":
        with path.open("wb") as file:
            np.savez_compressed(file, times_ps=times, channels=channels.astype(np.uint8),
                                duration_ps=np.int64(duration_ps), start_ps=np.int64(start_ps),
                                meta=np.array(json.dumps(meta)))
    elif path.suffix == ".ptu":
        path.write_bytes(_ptu_bytes(times - start_ps, channels, duration_ps, meta))
    elif path.suffix == ".csv":
        rows = np.stack([times, channels.astype(np.int64)], axis=1)
        with path.open("w", encoding="ascii") as file:
            file.write("time_ps,channel\n")
            np.savetxt(file, rows, fmt="%d", delimiter=",")
    else:
        raise ValueError(f"A recording ends in .npz, .ptu or .csv, not {path.suffix!r}")
    return path


def qct_header(tick_numerator, tick_denominator, duration_ps=0):
    """The 32 bytes before the 64-bit records of a ``.qct`` file (all little-endian).

    Magic and version, then one tick as an exact ratio in ps, then the duration in ps (0: up to
    the last record).
    """
    return _QCT_HEADER.pack(QCT_MAGIC, tick_numerator, tick_denominator, duration_ps)


def _ptu_bytes(times, channels, duration_ps, meta):
    """HydraHarp V2 T2: 25 bits of time, 6 of channel, 1 special; overflows carry a count."""
    if len(times) and times[0] < 0:
        raise ValueError(f"Times in a PTU file can't be negative; the first is {times[0]} ps after "
                         f"the start")
    wraps = times >> 25
    steps = np.diff(wraps, prepend=0)
    before = np.flatnonzero(steps)
    if len(before) and int(steps[before].max()) >= 1 << 25:
        raise ValueError("Two tags are more than 2**50 ps apart, more than a PTU file can say")
    tags = (channels.astype(np.uint32) << 25) | (times & (1 << 25) - 1).astype(np.uint32)
    overflow = np.uint32(0x7F << 25) | steps[before].astype(np.uint32)
    records = np.insert(tags, before, overflow).astype("<u4")

    out = io.BytesIO()
    out.write(_PTU_MAGIC + b"1.0.00\x00\x00")

    def tag(name, kind, value, data=b""):
        out.write(struct.pack("<32siI", name.encode("ascii"), -1, kind) + value + data)

    def integer(name, value):
        tag(name, 0x10000008, struct.pack("<q", value))

    def number(name, value):
        tag(name, 0x20000008, struct.pack("<d", value))

    def text(name, value):
        data = value.encode("windows-1252", errors="replace") + b"\x00"
        data += bytes(-len(data) % 8)
        tag(name, 0x4001FFFF, struct.pack("<q", len(data)), data)

    text("CreatorSW_Name", "QuantaCore")
    text("File_Comment", str(meta.get("comment", "T2 Mode")))
    integer("Measurement_Mode", 2)
    integer("Measurement_SubMode", 0)
    integer("TTResultFormat_TTTRRecType", 0x01010204)
    integer("TTResultFormat_BitsPerRecord", 32)
    text("HW_Type", str(meta.get("device", "QuantaCore")))
    integer("HW_InpChannels", int(channels.max(initial=0)) + 1)
    number("MeasDesc_Resolution", 1e-12)
    number("MeasDesc_GlobalResolution", 1e-12)
    integer("MeasDesc_AcquisitionTime", -(-duration_ps // 10**9))
    integer("TTResult_StopAfter", -(-duration_ps // 10**9))
    integer("TTResult_NumberOfRecords", len(records))
    tag("Header_End", 0xFFFF0008, bytes(8))
    return out.getvalue() + records.tobytes()
