"""Put the figures of the last `make bench` into README.md, between the markers there.

The README quotes nothing that a script did not print; this is how the figures get there.
"""

import argparse
import fnmatch
import json
import sys
from pathlib import Path

from common import number

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- figures: begin (benchmarks/readme_table.py) -->", "<!-- figures: end -->"
#: Which figures the README shows, in this order: pattern of names.
SHOWN = (
    "virtual_node/*/cycles_per_second",
    "virtual_node/*/*speedup*",
    "link_faults/*/operations",
    "link_faults/*/wrong_values",
    "link_faults/*/hangs",
    "tagger/*/records_compared",
    "tagger/*/records_different",
    "tagger/pair_resolution/*",
    "tagger/overflow/*",
    "tag_decode/*/tags_per_second",
    "timebase/lock_50ppm_12ns/*",
    "timebase/holdover_100s/*",
    "timebase/gps_tdev_1000s/*",
    "timebase/gateware/*",
    "spine_area/*/lut4",
    "spine_area/*/fmax",
    "decoder_accuracy/*/ratio_to_mwpm",
    "decoder_accuracy/*/ratio_plain_to_mwpm",
    "decoder_accuracy/*/ratio_plain_to_stored",
    "decoder_accuracy/*/ratio_correlated_to_stored",
    "decoder_accuracy/*/gateware_differences",
    "decoder_speed/*/clocks_per_round",
    "decoder_speed/*/time_per_round",
    "decoder_speed/*/time_per_round_over_*",
    "decoder_area/*/lut4",
    "decoder_area/*/bram",
    "decoder_area/*/fmax",
    "sequencer/*/time_per_event_over_*",
    "sequencer/*/missing",
    "sequencer/*/ticks",
    "sequencer/*/events_proven_per_second",
    "dds/*/sfdr",
    "dds/*/snr",
    "dds/*/worst_error",
    "dds/*/phase_error",
    "dds/*/gateware_differences",
    "stirap_quantisation/*ns/added_infidelity",
    "sequencer_area/*/lut4",
    "sequencer_area/*/bram",
    "sequencer_area/*/dsp",
    "sequencer_area/*/fmax",
    "herald_latency/*/word_to_line",
    "herald_latency/fabric_clock/*",
    "herald_area/*/lut4*",
    "herald_area/*/fmax",
    "attempts/*/rate",
    "attempts/all/attempts",
    "attempts/all/mismatches",
    "peers/*/attempt_rate",
    "switches/*/time",
    "switches/latencies/mismatches",
)


def chosen(rows):
    """The rows that the README shows, in its order, each once."""
    found = {}
    for pattern in SHOWN:
        for row in rows:
            if fnmatch.fnmatchcase(row["name"], pattern):
                found.setdefault(row["name"], row)
    return list(found.values())


def table(rows):
    """The figures as a Markdown table."""
    lines = ["| figure | | unit | compare with | |", "|---|--:|---|--:|---|"]
    for row in rows:
        source = row["anchor_source"].replace("|", "\\|")
        lines.append(f"| `{row['name']}` | {number(row['figure'])} | {row['unit']} | "
                     f"{number(row['anchor'])} | {source} |")
    return "\n".join(lines)


def with_table(text, rows):
    """``text`` with the part between the markers replaced."""
    if BEGIN not in text or END not in text:
        raise ValueError(f"The text needs the lines {BEGIN!r} and {END!r}")
    head, _, rest = text.partition(BEGIN)
    _old, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{table(rows)}\n{END}{tail}"


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Fill the table of figures in README.md.")
    parser.add_argument("--figures", metavar="FOLDER", type=Path, default=Path("build/bench"))
    parser.add_argument("--readme", metavar="FILE", type=Path, default=ROOT / "README.md")
    options = parser.parse_args(arguments)
    rows = [row for path in sorted(options.figures.glob("*.json"))
            for row in json.loads(path.read_text())]
    if not rows:
        sys.exit(f"There are no figures in {options.figures}: run `make bench` first")
    options.readme.write_text(with_table(options.readme.read_text(), chosen(rows)))
    print(f"{options.readme.name}: {len(chosen(rows))} of {len(rows)} figures")


if __name__ == "__main__":
    main()
