"""Draw the pictures of docs/decoder.md: ``python tools/decoder_pictures.py [folder]``.

They are true: the golden model decodes a shot of a distance-5 memory, and what is drawn is its
list, its clusters, its matches and its windows. The growth is stepped through once more here, one
step at a time, and has to end in the golden model's clusters.
"""

import sys
from html import escape
from itertools import combinations
from pathlib import Path

import numpy as np

from quantacore.gateware.layouts.decoder import NONE
from quantacore.host.qec import compile_circuit, detector_nodes, expand_match, fit
from quantacore.sim.golden.decoder.plain import BOUNDARY, Decoder, _Engine, _steps
from quantacore.sim.qec.circuits import memory_circuit

DISTANCE, P, ROUNDS, SEED = 5, 0.006, 19, 10

_STYLE = """
svg { --ink: #1d2433; --soft: #657089; --grid: #e3e7ef; --box: #f3f5f9; --c0: #1f6feb;
  --c1: #d4570a; --c2: #138a4a; --c3: #8f3fd1; --c4: #b8860b; --c5: #c2255c;
  font: 12px system-ui, sans-serif; background: #fff; }
@media (prefers-color-scheme: dark) { svg { --ink: #e8ecf5; --soft: #98a3bb; --grid: #2b3345;
  --box: #202838; --c0: #6cb2ff; --c1: #ffa45c; --c2: #56d68d; --c3: #c99bff; --c4: #e8c35a;
  --c5: #ff85ad; background: #141a26; } }
text { fill: var(--soft); } .ink { fill: var(--ink); } .mid { text-anchor: middle; }
.end { text-anchor: end; } .grid { stroke: var(--grid); fill: none; }
.axis { stroke: var(--soft); fill: none; } .box { fill: var(--box); stroke: var(--soft); }
.mem { fill: none; stroke: var(--soft); stroke-dasharray: 3 2; }
.dash { stroke-dasharray: 5 4; } .thick { stroke-width: 2.5; } .none { fill: none; }
.halo { stroke-width: 15; opacity: .16; stroke-linecap: round; }
"""
COLOURS = 6


class Drawing:
    """A picture of its own: shapes in order, in pixels from the top left."""

    def __init__(self, width, height, title):
        self.parts = []
        self.size = width, height
        self.title = title

    def line(self, points, kind="axis", colour=None):
        style = f' style="stroke:var(--c{colour % COLOURS})"' if colour is not None else ""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(f'<polyline class="none {kind}" points="{path}"{style}/>')

    def dot(self, x, y, colour, radius=4.5):
        self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" '
                          f'style="fill:var(--c{colour % COLOURS})"/>')

    def box(self, x, y, width, height, kind="box"):
        self.parts.append(f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" '
                          f'height="{height:.1f}" rx="3"/>')

    def text(self, x, y, text, kind=""):
        self.parts.append(f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>')

    def arrow(self, x0, y0, x1, y1):
        self.line([(x0, y0), (x1, y1)])
        way = np.array([x1 - x0, y1 - y0], float)
        way /= np.hypot(*way)
        side = np.array([-way[1], way[0]])
        tip = np.array([x1, y1])
        corners = [tip, tip - 7 * way + 3 * side, tip - 7 * way - 3 * side]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
        self.parts.append(f'<polygon points="{path}" style="fill:var(--soft)"/>')

    def svg(self):
        width, height = self.size
        return "\n".join([
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" role="img">',
            f"<title>{escape(self.title)}</title>", f"<style>{_STYLE}</style>",
            *self.parts, "</svg>", ""])


def circuit_of(rounds):
    return memory_circuit(DISTANCE, rounds, P)


def shot():
    """The image, and one shot: nodes (layer, space) with a defect, for each basis."""
    image = compile_circuit(circuit_of)
    model = circuit_of(ROUNDS).detector_error_model(decompose_errors=True).flattened()
    nodes = detector_nodes(image, model)
    # Stim's own sampler promises nothing about its seeds from one version to the next.
    random = np.random.Generator(np.random.PCG64(SEED))
    lit = np.zeros(model.num_detectors, bool)
    for item in model:
        if item.type == "error" and random.random() < item.args_copy()[0]:
            for target in item.targets_copy():
                if target.is_relative_detector_id():
                    lit[target.val] ^= True
    found = [sorted((int(layer), int(space)) for basis, space, layer in nodes[lit]
                    if basis == wanted) for wanted in range(2)]
    return image, found


def engine_of(image, defects, layers):
    """The golden engine of basis 0 after growth and matching of one window."""
    engine = _Engine(image, 0)
    engine.defects = [(space, layer) for layer, space in defects if layer < layers]
    engine.fill()
    engine.grow()
    engine.match()
    return engine


def space_time(image, engine, layers):
    spaces = len(image.about["spaces"][0])
    step, left, top = 52, 62, 40
    width, height = left + step * layers + 20, top + 26 * spaces + 66
    d = Drawing(width, height, "A window's list of defects, its clusters and its matches")
    d.text(left, 20, f"basis 0 of a distance-{DISTANCE} memory, p = {P}: "
           f"{len(engine.defects)} defects among {layers * spaces} detectors", "ink")

    def at(node):
        return left + step * (node[1] + 0.5), top + 26 * (node[0] + 0.5)

    for layer in range(layers):
        for space in range(spaces):
            x, y = at((space, layer))
            d.parts.append(f'<circle class="grid" cx="{x}" cy="{y}" r="1.5"/>')
        d.text(at((0, layer))[0], top + 26 * spaces + 18, str(layer), "mid")
    d.text(left + step * layers / 2, top + 26 * spaces + 36, "layer (round)", "mid")
    for space in range(0, spaces, 2):
        d.text(left - 8, at((space, 0))[1] + 4, str(space), "end")
    d.text(left - 8, top - 6, "space", "end")
    colour = {label: number for number, label in enumerate(dict.fromkeys(engine.label))}
    for i, partner in enumerate(engine.partner):
        if partner != BOUNDARY and not 0 <= partner < i:
            continue
        other = None if partner == BOUNDARY else engine.defects[partner]
        for edge in expand_match(image, 0, engine.defects[i], other):
            a = at(edge.a)
            b = (a[0] + 14, a[1] - 14) if edge.b is None else at(edge.b)
            d.line([a, b], "halo", colour[engine.label[i]])
            d.line([a, b], "thick", colour[engine.label[i]])
            if edge.b is None:
                d.line([(b[0] - 6, b[1] - 6), (b[0] + 6, b[1] + 6)], "axis")
    for node, label in zip(engine.defects, engine.label, strict=True):
        d.dot(*at(node), colour[label])
    d.text(left, height - 8, "dot: defect; colour: cluster; line: the edges of a match; "
           "bar: boundary")
    return d


def growth_steps(engine):
    """Radii of all balls after every step, and (step, what happened) with the slots."""
    n = len(engine.defects)
    label, radius = list(range(n)), [0] * n
    bound = [False] * n
    history, events = [list(radius)], []

    def active(i):
        return not bound[label[i]] and sum(x == label[i] for x in label) % 2

    tau = 0
    while True:
        changed = True
        while changed:
            changed = False
            for i in range(n):
                if active(i) and engine.bound[i][0] != NONE and (
                        radius[i] >= _steps(engine.bound[i][0])):
                    bound[label[i]] = True
                    events.append((tau, i, None))
                    changed = True
            for i, j in combinations(range(n), 2):
                weight = engine.pair.get((j, i), (NONE, 0))[0]
                if label[i] != label[j] and (active(i) or active(j)) and weight != NONE and (
                        radius[i] + radius[j] >= _steps(weight)):
                    keep, gone = label[i], label[j]
                    bound[keep] = bound[keep] or bound[gone]
                    label = [keep if x == gone else x for x in label]
                    events.append((tau, i, j))
                    changed = True
        if not any(active(i) for i in range(n)) or tau == 63:
            break
        tau += 1
        radius = [r + bool(active(i)) for i, r in enumerate(radius)]
        history.append(list(radius))
    here = {frozenset(i for i in range(n) if label[i] == x) for x in label}
    golden = {frozenset(i for i in range(n) if engine.label[i] == x) for x in engine.label}
    if here != golden:
        raise AssertionError(f"The picture's clusters are not the golden model's: {here ^ golden}")
    return np.array(history), events


def growth(image, engine):
    history, events = growth_steps(engine)
    n, steps = history.shape[1], len(history)
    scale, left, top, row = 22, 120, 46, 24
    d = Drawing(max(700, left + scale * steps + 60), top + row * n + 64,
                "How the balls of a window grow")
    d.text(left, 20, "the same window: each row is a defect, each column a growth step", "ink")
    colour = {label: number for number, label in enumerate(dict.fromkeys(engine.label))}
    for tau in range(0, steps, 2):
        x = left + scale * tau
        d.line([(x, top - 6), (x, top + row * n)], "grid")
        d.text(x, top + row * n + 16, str(tau), "mid")
    d.text(left + scale * steps / 2, top + row * n + 34, "tau (1 step = 4 weight units)", "mid")
    for i, (space, layer) in enumerate(engine.defects):
        y = top + row * (i + 0.5)
        d.text(left - 12, y + 4, f"{i}: space {space}, layer {layer}", "end")
        for tau in range(1, steps):
            if history[tau, i] > history[tau - 1, i]:
                d.line([(left + scale * (tau - 1), y), (left + scale * tau, y)], "thick",
                       colour[engine.label[i]])
        d.text(left + scale * (steps - 1) + 12, y + 4, f"r={history[-1, i]}")
    for tau, i, j in events:
        x, y = left + scale * tau, top + row * (i + 0.5)
        if j is None:
            d.line([(x, y - 8), (x, y + 8)], "thick axis")
        else:
            d.line([(x, y), (x, top + row * (j + 0.5))], "axis dash")
            d.dot(x, top + row * (j + 0.5), colour[engine.label[i]], 3)
        d.dot(x, y, colour[engine.label[i]], 3)
    d.text(8, top + row * n + 52, "thick: the ball grows; dashed: two clusters become one; "
           "upright bar: the cluster has met the boundary")
    return d


def windows(image, defects):
    commit, buffer = image.settings["commit"], image.settings["buffer"]
    total = ROUNDS + 1
    decoder = Decoder(image)
    found = []
    for layer in range(total):
        found += [verdict for verdict in decoder.feed(
            [[space for when, space in defects[basis] if when == layer] for basis in range(2)],
            last=layer == total - 1) if verdict.basis == 0]
    step, left, top, row = 30, 90, 46, 96
    d = Drawing(left + step * total + 20, top + row * len(found) + 40,
                "Windows: commit layers and buffer layers")
    d.text(left, 20, f"windows of {commit} commit and {buffer} buffer layers, basis 0", "ink")
    gone = set()
    for number, verdict in enumerate(found):
        y = top + row * number
        last = min(verdict.first + commit + buffer, total)
        if verdict.last:
            last = total
        x = left + step * verdict.first
        split = left + step * (last if verdict.last else verdict.first + commit)
        d.box(x, y, split - x, row - 26)
        if not verdict.last:
            d.box(split, y, left + step * last - split, row - 26, "mem")
        d.text(left - 8, y + 20, f"window {number}", "end")
        d.text(x + 4, y + 13, "commit" if not verdict.last else "commit (last window)")
        if not verdict.last:
            d.text(split + 4, y + 13, "buffer")

        def at(node, y=y):
            return left + step * (node[0] + 0.5), y + 20 + 3.6 * node[1]

        here = [node for node in defects[0] if node not in gone and node[0] < last]
        done = set()
        for match in verdict.matches:
            a = at(match.a)
            b = (a[0] + 10, a[1] - 8) if match.b is None else at(match.b)
            d.line([a, b], "thick", 2)
            done |= {match.a} | ({match.b} if match.b is not None else set())
        for node in here:
            d.dot(*at(node), 2 if node in done else 1, 3.6)
        gone |= done
    y = top + row * len(found)
    for layer in range(0, total, 2):
        d.text(left + step * (layer + 0.5), y + 2, str(layer), "mid")
    d.text(left, y + 24, "green: matched and committed; orange: kept, and decoded again by the "
           "next window")
    return d


def blocks(image):
    sizes = {memory.name: f"{memory.words} x {memory.width}" for memory in fit(image).memories}
    d = Drawing(860, 470, "One engine of the decoder")
    d.text(20, 24, "one engine (there are two, one per basis); memories are words x bits for "
           f"distance {DISTANCE}", "ink")

    def stage(x, y, name, note, width=118):
        d.box(x, y, width, 52)
        d.text(x + width / 2, y + 22, name, "mid ink")
        d.text(x + width / 2, y + 40, note, "mid")

    def memory(x, y, name, note, width=128):
        d.box(x, y, width, 42, "mem")
        d.text(x + width / 2, y + 17, name, "mid ink")
        d.text(x + width / 2, y + 33, note, "mid")

    names = [("Intake", "rounds, XOR"), ("Loader", "list"), ("Filler", "distances"),
             ("Growth", "clusters"), ("Matcher", "partners"), ("Committer", "records")]
    for number, (name, note) in enumerate(names):
        x = 20 + 140 * number
        stage(x, 190, name, note)
        if number:
            d.arrow(x - 22, 216, x - 1, 216)
    stage(440, 330, "Applier", "shortens")
    stage(580, 330, "Walker", "walks matches")
    d.arrow(630, 243, 635, 329)
    d.arrow(500, 330, 500, 244)
    d.text(508, 296, "events")
    stage(300, 330, "Eraser", "heralds")
    d.arrow(418, 356, 439, 356)
    d.arrow(698, 356, 770, 356)
    d.text(702, 348, "shortcuts", "")
    d.text(702, 374, "to the other engine", "")
    d.arrow(470, 428, 470, 383)
    d.text(478, 428, "shortcuts from the other engine")
    memory(300, 60, "PAIR", sizes["PAIR"])
    memory(440, 60, "BOUND", sizes["BOUND"])
    memory(580, 60, "HOP, EDGE", f"{sizes['HOP']}, {sizes['EDGE']}")
    memory(720, 60, "SHORT", sizes["SHORT"])
    d.text(20, 84, "tables (loaded once)")
    memory(300, 122, "distances D", sizes["distances"])
    memory(440, 122, "events", sizes["events"])
    memory(160, 122, "list", f"{image.shape.capacity} nodes")
    memory(580, 122, "partners", f"{image.shape.capacity} slots")
    d.text(20, 146, "work of a window")
    d.arrow(794, 243, 794, 290)
    d.text(730, 306, "verdict, timing,")
    d.text(730, 320, "match, escape")
    d.text(20, 452, "Filler, Walker, Applier, Matcher and Committer take turns at the memories; "
           "the stages of one window never overlap.")
    return d


def main():
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "docs" / "img"
    folder.mkdir(parents=True, exist_ok=True)
    image, defects = shot()
    layers = image.settings["commit"] + image.settings["buffer"]
    engine = engine_of(image, defects[0], layers)
    for name, drawing in (("space-time", space_time(image, engine, layers)),
                          ("growth", growth(image, engine)),
                          ("windows", windows(image, defects)), ("engine", blocks(image))):
        path = folder / f"decoder-{name}.svg"
        path.write_text(drawing.svg(), encoding="utf-8")
        print(path.name)


if __name__ == "__main__":
    main()
