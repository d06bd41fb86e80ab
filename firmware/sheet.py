"""Pulse sheets: a program's timeline as a picture (SVG) or a page to zoom and pan (HTML).

Neither asks the network for anything; both follow the reader's light or dark mode. Stretches in
which nothing happens are cut, and a zigzag says how long they are.
"""

import json
import math
from html import escape

from quantacore.firmware.timeline import walk, wave_shape

__all__ = ["sheet_svg", "sheet_html"]

_LEFT, _RIGHT, _TOP, _WIDTH = 118, 22, 40, 1040
_CHANNEL, _LINE, _LOOP, _FOOT = 46, 22, 20, 34
_PULSE_POINTS = 33
#: A gap of more than this part of what is shown is cut to that part of it.
_GAP, _CUT = 0.07, 0.03
_COLOURS = 6

_STYLE = """
.qs { --ink: #1d2433; --soft: #657089; --grid: #e3e7ef; --back: #ffffff; --band: #f5f7fb;
  --c0: #1f6feb; --c1: #d4570a; --c2: #138a4a; --c3: #8f3fd1; --c4: #b8860b; --c5: #c2255c;
  font: 12px system-ui, sans-serif; background: var(--back); }
@media (prefers-color-scheme: dark) { .qs { --ink: #e8ecf5; --soft: #98a3bb; --grid: #2b3345;
  --back: #141a26; --band: #1b2231; --c0: #6cb2ff; --c1: #ffa45c; --c2: #56d68d; --c3: #c99bff;
  --c4: #e8c35a; --c5: #ff85ad; } }
.qs text { fill: var(--soft); } .qs .ink { fill: var(--ink); } .qs .mid { text-anchor: middle; }
.qs .end { text-anchor: end; } .qs .small { font-size: 10px; }
.qs path, .qs line { vector-effect: non-scaling-stroke; }
.qs .grid { stroke: var(--grid); fill: none; } .qs .band { fill: var(--band); }
.qs .axis { stroke: var(--soft); fill: none; } .qs .ttl { stroke: var(--ink); fill: none;
  stroke-width: 1.5; } .qs .fill { fill: var(--ink); opacity: .12; }
.qs .mark { stroke: var(--c5); stroke-width: 1.5; } .qs .wait { fill: url(#hatch);
  stroke: var(--soft); stroke-dasharray: 3 2; } .qs .hatch { stroke: var(--soft); opacity: .55; }
.qs .loop { stroke: var(--c4); fill: none; stroke-width: 1.5; } .qs .cut { fill: var(--back); }
.qs .zig { stroke: var(--soft); fill: none; } .qs .note { stroke: var(--c3); }
.qs .pulse { stroke-width: 1.3; fill-opacity: .22; } .qs .pulse:hover { fill-opacity: .5; }
""" + "".join(f".qs .p{i} {{ stroke: var(--c{i}); fill: var(--c{i}); }}\n"
              for i in range(_COLOURS))


class _Scale:
    """Ticks to pixels, with long gaps cut."""

    def __init__(self, stretches, total, width):
        self.parts, self.cuts = [], []
        active = sum(e - b for b, e in stretches) or 1
        gaps = [(a[1], b[0]) for a, b in zip(stretches, stretches[1:], strict=False)]
        cut = [g for g in gaps if g[1] - g[0] > _GAP * active]
        short = max(1.0, _CUT * active)
        shown = active + sum(e - b for b, e in gaps) - sum(e - b for b, e in cut)
        self.per_tick = width / (shown + short * len(cut))
        at, x = stretches[0][0], 0.0
        for begin, end in cut:
            wide = (begin - at) * self.per_tick
            self.parts.append((at, x, begin, x + wide))
            x += wide
            self.cuts.append((x, x + short * self.per_tick, end - begin))
            self.parts.append((begin, x, end, x + short * self.per_tick))
            x += short * self.per_tick
            at = end
        self.parts.append((at, x, max(total, at + 1), x + (max(total, at + 1) - at)
                           * self.per_tick))

    def __call__(self, tick):
        for begin, x, end, x_end in self.parts:
            if tick <= end:
                return x + (tick - begin) * (x_end - x) / max(1, end - begin)
        return self.parts[-1][3]


def _stretches(timeline, waves):
    """Where something happens, with some room around it."""
    total = max(timeline.ticks, 1)
    room = max(1, total // 200)
    spans = [(0, 1), (total - 1, total)]
    for shown in timeline.shown:
        if shown.kind == "loop":
            continue
        begin, end = shown.begin, shown.end
        if shown.kind == "pulse" and not waves[shown.wave].length:
            # A pulse without an end would keep everything: its ends count.
            spans.append((end - room, end + room))
            end = begin
        if shown.kind == "note" and shown.lane < 0:
            end = begin
        spans.append((begin - room, end + room))
    merged = []
    for begin, end in sorted((max(0, b), min(total, e)) for b, e in spans):
        if merged and begin <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([begin, max(end, begin)])
    return [tuple(m) for m in merged]


def _time(ticks, tick_s):
    """A time as people write it."""
    seconds = float(ticks * tick_s)
    for unit, scale in (("s", 1), ("ms", 1e3), ("\N{MICRO SIGN}s", 1e6), ("ns", 1e9)):
        if abs(seconds) * scale >= 1 or unit == "ns":
            return f"{seconds * scale:.5g} {unit}"


def _n(x):
    return f"{x:.1f}".removesuffix(".0")


class _Sheet:
    def __init__(self, assembly, timeline, title):
        self.a, self.t, self.title = assembly, timeline, title
        self.scale = _Scale(_stretches(timeline, assembly.waves), timeline.ticks,
                            _WIDTH - _LEFT - _RIGHT)
        shown = timeline.shown
        self.channels = sorted({s.lane for s in shown if s.kind == "pulse"
                                or s.kind == "note" and s.lane >= 0})
        self.lines = sorted({s.lane for s in shown if s.kind == "set"})
        self.depth = max((s.depth + 1 for s in shown if s.kind == "loop"), default=0)
        self.rows, self.out = {}, []

    def tip(self, shown, *more):
        line = self.a.line(shown.pc)
        parts = [shown.text, f"at {_time(shown.begin, self.a.tick_s)} (tick {shown.begin})", *more]
        where = f"{line.file.rsplit('/', 1)[-1]}:{line.number}" if line.number else (
            f"word {shown.pc}")
        parts.append(f"{where}: {line.text.split(';')[0].strip()}" if line.text else where)
        return f"<title>{escape(chr(10).join(parts))}</title>"

    def svg(self, *, standalone=True):
        y = _TOP + self.depth * _LOOP + 6
        for channel in self.channels:
            self.rows["channel", channel] = y
            y += _CHANNEL
        for line in self.lines:
            self.rows["line", line] = y
            y += _LINE
        for kind in ("route", "wait", "mark"):
            if any(s.kind == kind for s in self.t.shown):
                self.rows[kind, 0] = y
                y += _LINE
        bottom = y + 4
        height = bottom + _FOOT
        out = self.out = []
        names, width = [], _WIDTH - _LEFT - _RIGHT
        for (kind, number), top in self.rows.items():
            tall = _CHANNEL if kind == "channel" else _LINE
            if kind == "channel":
                name = self.a.channels.get(number, f"channel {number}").removesuffix("_ch")
            elif kind == "line":
                name = self.a.ttl_lines.get(number, f"line {number}")
            else:
                name = {"route": "route", "wait": "waits", "mark": "marks"}[kind]
            names.append(f'<text class="ink end" x="{_LEFT - 10}" y="{top + tall / 2 + 4:g}">'
                         f"{escape(name)}</text>")
            names.append(f'<path class="grid" d="M{_LEFT} {top + tall}h{width}"/>')
        self.waits()
        for channel in self.channels:
            self.channel(channel)
        for line in self.lines:
            self.line(line)
        self.routes()
        self.marks()
        self.loops()
        self.cuts(bottom)
        end = self.scale(self.t.ticks)
        out.append(f'<path class="axis" d="M{_n(end)} {_TOP}V{bottom}"><title>'
                   f"{escape(self.t.reason)} at {_time(self.t.ticks, self.a.tick_s)}"
                   "</title></path>")
        head = (f'<svg xmlns="http://www.w3.org/2000/svg" class="qs" role="img" '
                f'viewBox="0 0 {_WIDTH} {height}" aria-label="{escape(self.title)}">')
        style = f"<style>{_STYLE}</style>" if standalone else ""
        defs = ('<defs><pattern id="hatch" width="6" height="6" patternTransform="rotate(45)" '
                'patternUnits="userSpaceOnUse"><path class="hatch" d="M0 0V6"/></pattern>'
                f'<clipPath id="inside"><rect x="-9" y="0" width="{width + 18}" height="{height}"/>'
                "</clipPath></defs>")
        legend = (f'<text class="ink" x="{_LEFT}" y="18" font-weight="600">{escape(self.title)}'
                  f'</text><text class="end" x="{_WIDTH - _RIGHT}" y="18">'
                  f"{len(self.a.words)} words, shown: {_time(self.t.ticks, self.a.tick_s)}, "
                  f"{escape(self.t.reason)}</text>")
        back = f'<rect class="cut" width="{_WIDTH}" height="{height}"/>' if standalone else ""
        return "\n".join([
            head, style, defs, back, legend, *names,
            f'<g transform="translate({_LEFT} 0)" clip-path="url(#inside)"><g class="plot">', *out,
            '</g><g class="ticks">', *self.axis(bottom), "</g></g>",
            f'<path class="axis" d="M{_LEFT} {bottom}h{width}"/></svg>'])

    def channel(self, channel):
        top = self.rows["channel", channel]
        pulses = [s for s in self.t.shown if s.kind == "pulse" and s.lane == channel]
        signed = any(s.value < 0 for s in pulses)
        zero = top + _CHANNEL / 2 if signed else top + _CHANNEL - 5
        reach = (_CHANNEL / 2 if signed else _CHANNEL) - 12
        for s in pulses:
            wave = self.a.waves[s.wave]
            shape = wave_shape(self.a, channel, s.wave, _PULSE_POINTS)
            begin, end = self.scale(s.begin), self.scale(s.end)
            cut = wave.length and s.end < s.begin + wave.length
            part = (s.end - s.begin) / wave.length if cut else 1
            tall = s.value / 2**15
            points = []
            for x, v in shape:
                if x > part + 1e-9:
                    break
                points.append(f"{_n(begin + (end - begin) * x / part)} "
                              f"{_n(zero - v * tall * reach)}")
            length = _time(wave.length, self.a.tick_s) if wave.length else "until the next pulse"
            out = f'M{_n(begin)} {_n(zero)}L{"L".join(points)}V{_n(zero)}Z'
            self.out.append(
                f'<path class="pulse p{channel % _COLOURS}" d="{out}">'
                + self.tip(s, f"length {length}", f"amplitude {tall:.4g} ({s.value})",
                           *(["cut short"] if cut else [])) + "</path>")
        for s in self.t.shown:
            if s.kind == "note" and s.lane == channel:
                x = _n(self.scale(s.begin))
                self.out.append(f'<path class="note" d="M{x} {top + 2}v7">{self.tip(s)}</path>')

    def line(self, line):
        top = self.rows["line", line]
        low, high = top + _LINE - 4, top + 5
        path, level = f"M0 {low}", 0
        for s in (s for s in self.t.shown if s.kind == "set" and s.lane == line):
            x = _n(self.scale(s.begin))
            if s.value != level:
                path += f"H{x}V{high if s.value else low}"
            level = s.value
            self.out.append(f'<path class="ttl" stroke-opacity="0" stroke-width="6" '
                            f'd="M{x} {high}V{low}">'
                            f"{self.tip(s, 'high' if s.value else 'low')}</path>")
        self.out.append(f'<path class="ttl" d="{path}H{_n(self.scale(self.t.ticks))}"/>')

    def routes(self):
        if ("route", 0) not in self.rows:
            return
        top = self.rows["route", 0]
        found = [s for s in self.t.shown if s.kind == "route"]
        for s, after in zip(found, [*found[1:], None], strict=True):
            x, end = self.scale(s.begin), self.scale(after.begin if after else self.t.ticks)
            self.out.append(f'<rect class="fill" x="{_n(x)}" y="{top + 4}" '
                            f'width="{_n(end - x)}" height="{_LINE - 7}">{self.tip(s)}</rect>')
            self.text(x + 3, top + 16, str(s.value), "small")

    def waits(self):
        free = -99.0
        for s in (s for s in self.t.shown if s.kind == "wait"):
            x, end = self.scale(s.begin), self.scale(s.end)
            top = self.rows["wait", 0]
            limit = f"at most {_time(s.value, self.a.tick_s)}" if s.value else "to a fixed time"
            self.out.append(f'<rect class="wait" x="{_n(x)}" y="{top + 3}" '
                            f'width="{_n(max(end - x, 2))}" height="{_LINE - 6}">'
                            f"{self.tip(s, limit)}</rect>")
            text = (f"{s.text} \N{LESS-THAN OR EQUAL TO} {_time(s.value, self.a.tick_s)}"
                    if s.value else s.text)
            wide = 5.5 * len(text)
            if end + wide < _WIDTH - _LEFT - _RIGHT:
                self.text(end + 3, top + 15, text, "small")
                free = end + wide
            elif x - wide > free:
                self.text(x - 3, top + 15, text, "small end")

    def marks(self):
        if ("mark", 0) not in self.rows:
            return
        top, last = self.rows["mark", 0], -99.0
        for s in (s for s in self.t.shown if s.kind == "mark"):
            x = self.scale(s.begin)
            self.out.append(f'<path class="mark" d="M{_n(x)} {top + 3}v{_LINE - 6}">{self.tip(s)}'
                            f"</path>")
            if x - last > 22:
                self.text(x + 3, top + 15, str(s.value), "small")
                last = x

    def loops(self):
        for s in (s for s in self.t.shown if s.kind == "loop"):
            y = _TOP + s.depth * _LOOP + 14
            x, end = self.scale(s.begin), self.scale(s.end)
            self.out.append(f'<path class="loop" d="M{_n(x)} {y + 5}V{y}H{_n(end)}V{y + 5}">'
                            f"{self.tip(s, 'the first turn is shown')}</path>")
            self.text(x + 4, y - 3, s.text, "small ink")

    def cuts(self, bottom):
        for x, end, gap in self.scale.cuts:
            middle, half = (x + end) / 2, min(6.0, (end - x) / 2)
            zig = "".join(f"l{half if i % 2 == 0 else -half:.1f} 6" for i in range(
                int((bottom - _TOP) / 6)))
            text = escape(f"{_time(gap, self.a.tick_s)} without anything")
            self.out.append(f'<path class="zig" d="M{_n(middle - half / 2)} {_TOP}{zig}">'
                            f"<title>{text}</title></path>")

    def text(self, x, y, text, kind=""):
        self.out.append(f'<text class="{kind}" x="{_n(x)}" y="{_n(y)}">{escape(text)}</text>')

    def axis(self, bottom):
        step_ticks = self.step(110 / self.scale.per_tick)
        tick_ns = float(self.a.tick_s * 10**9)
        out, last = [], -99.0
        for index, (begin, x, end, x_end) in enumerate(self.scale.parts):
            if index % 2:
                continue
            first = math.ceil(begin / step_ticks - 1e-9)
            places = [begin] if index else []
            places += [n * step_ticks for n in range(first, int(end / step_ticks + 1e-9) + 1)]
            for place in places:
                at = x + (place - begin) * (x_end - x) / max(1e-9, end - begin)
                if at - last < 62 or at > _WIDTH - _LEFT - _RIGHT - 18:
                    continue
                last = at
                label = _time(round(place * tick_ns, 3), 1e-9) if place else "0"
                out.append(f'<path class="axis" d="M{_n(at)} {bottom}v5"/><text class="mid" '
                           f'x="{_n(at)}" y="{bottom + 18}">{label}</text>')
        return out

    def step(self, ticks):
        """A round time of about so many ticks, in ticks."""
        raw = ticks * float(self.a.tick_s)
        power = 10.0 ** math.floor(math.log10(raw))
        return next(f * power for f in (1, 2, 5, 10) if f * power >= raw * 0.999) / float(
            self.a.tick_s)


def _sheet(assembly, title, entry, choices, unfold):
    timeline = walk(assembly, entry=entry, choices=choices, unfold=unfold)
    return _Sheet(assembly, timeline, title or assembly.name)


def sheet_svg(assembly, *, title="", entry=None, choices=None, unfold=1):
    """A program's pulse sheet as SVG text.

    Parameters
    ----------
    assembly : Assembly
    title : str
        The program's name if not given.
    entry, choices, unfold
        See :func:`~quantacore.firmware.timeline.walk`.
    """
    return _sheet(assembly, title, entry, choices, unfold).svg() + "\n"


_SCRIPT = """
const svg = document.querySelector("svg.qs"), plot = svg.querySelector(".plot"),
  axis = svg.querySelector(".ticks"), tip = document.getElementById("tip"),
  texts = [...plot.querySelectorAll("text")].map(t => [t, +t.getAttribute("x")]),
  kept = axis.innerHTML, NS = svg.namespaceURI;
let s = 1, d = 0, drag = null;
const bottom = +D.bottom, W = D.width;
function time(ns) {
  for (const [u, f] of [["s", 1e-9], ["ms", 1e-6], ["\u00b5s", 1e-3], ["ns", 1]])
    if (Math.abs(ns) * f >= 1 || u == "ns") return +(ns * f).toPrecision(6) + " " + u;
}
function draw() {
  s = Math.min(Math.max(s, 1), 1e6); d = Math.min(0, Math.max(d, W - W * s));
  plot.setAttribute("transform", `matrix(${s} 0 0 1 ${d} 0)`);
  for (const [t, x] of texts) t.setAttribute("transform",
    `translate(${x} 0) scale(${1 / s} 1) translate(${-x} 0)`);
  if (s == 1) { axis.innerHTML = kept; return; }
  const out = [];
  for (const [b, x, e, y] of D.parts) {
    const scale = (y - x) * s / (e - b), raw = 110 / scale * D.tick,
      p = 10 ** Math.floor(Math.log10(raw)),
      step = [1, 2, 5, 10].map(f => f * p).find(v => v >= raw * 0.999),
      from = Math.max(b, b + (-d / s - x) / (y - x) * (e - b)),
      to = Math.min(e, b + ((W - d) / s - x) / (y - x) * (e - b));
    for (let n = Math.ceil(from * D.tick / step); n * step <= to * D.tick; n++) {
      const at = (x + (n * step / D.tick - b) / (e - b) * (y - x)) * s + d;
      out.push(`<path class="axis" d="M${at} ${bottom}v5"/><text class="mid" x="${at}" ` +
        `y="${bottom + 18}">${n ? time(n * step) : "0"}</text>`);
    }
  }
  axis.innerHTML = out.join("");
}
function px(event) {
  const box = svg.getBoundingClientRect();
  return (event.clientX - box.left) * D.all / box.width - D.left;
}
function zoom(x, f) { const t = (x - d) / s; s = Math.min(Math.max(s * f, 1), 1e6);
  d = x - t * s; draw(); }
svg.addEventListener("wheel", e => { e.preventDefault();
  if (e.shiftKey) { d -= e.deltaY; draw(); } else zoom(px(e), Math.exp(-e.deltaY / 300)); },
  {passive: false});
svg.addEventListener("pointerdown", e => { drag = px(e) - d; svg.setPointerCapture(e.pointerId); });
svg.addEventListener("pointerup", () => { drag = null; });
svg.addEventListener("dblclick", () => { s = 1; d = 0; draw(); });
svg.addEventListener("pointermove", e => {
  if (drag !== null) { d = px(e) - drag; draw(); return; }
  const over = document.elementFromPoint(e.clientX, e.clientY),
    text = over && over.dataset ? over.dataset.tip : null;
  tip.hidden = !text;
  if (text) { tip.textContent = text;
    tip.style.left = Math.min(e.clientX + 14, innerWidth - tip.offsetWidth - 8) + "px";
    tip.style.top = e.clientY + 16 + "px"; }
});
svg.addEventListener("pointerleave", () => { tip.hidden = true; });
for (const t of svg.querySelectorAll("title")) {
  t.parentNode.dataset.tip = t.textContent; t.remove(); }
document.addEventListener("keydown", e => {
  const k = {"+": [1.5], "=": [1.5], "-": [1 / 1.5]}[e.key];
  if (k) zoom(W / 2, k[0]);
  else if (e.key == "ArrowLeft") { d += W / 8; draw(); }
  else if (e.key == "ArrowRight") { d -= W / 8; draw(); }
  else if (e.key == "0") { s = 1; d = 0; draw(); }
});
"""

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<style>{style}
body {{ margin: 0; background: #fff; color: #1d2433; font: 14px system-ui, sans-serif; }}
@media (prefers-color-scheme: dark) {{ body {{ background: #141a26; color: #e8ecf5; }} }}
main {{ max-width: 1500px; margin: 0 auto; padding: 16px; }}
svg.qs {{ width: 100%; touch-action: none; cursor: grab; user-select: none; }}
#tip {{ position: fixed; white-space: pre; pointer-events: none; background: #1d2433; color: #fff;
  padding: 6px 9px; border-radius: 5px; font-size: 12px; box-shadow: 0 2px 8px #0006; }}
.hint {{ color: #657089; }} table {{ border-collapse: collapse; }} td, th {{ text-align: left;
  padding: 2px 18px 2px 0; font-variant-numeric: tabular-nums; }}
</style></head><body><main>
{svg}
<p class="hint">Wheel or + and -: zoom. Drag or arrows: pan. Double click or 0: all. Point at
something: what it is, and its source line. Loops show their first turn.</p>
{facts}
</main><div id="tip" hidden></div>
<script>const D = {data};{script}</script></body></html>
"""


def sheet_html(assembly, *, title="", entry=None, choices=None, unfold=1, proof=None):
    """The same as a page of its own, with zoom, pan and what is under the pointer.

    Parameters
    ----------
    proof : Proof, optional
        Its slack and times go below the picture.
    """
    sheet = _sheet(assembly, title, entry, choices, unfold)
    svg = sheet.svg(standalone=False)
    empty = _TOP + sheet.depth * _LOOP + 6
    bottom = 4 + max((y + (_CHANNEL if kind == "channel" else _LINE)
                      for (kind, _), y in sheet.rows.items()), default=empty)
    data = json.dumps({"parts": [[round(v, 3) for v in part] for part in sheet.scale.parts],
                       "tick": float(assembly.tick_s * 10**9), "left": _LEFT, "all": _WIDTH,
                       "width": _WIDTH - _LEFT - _RIGHT, "bottom": bottom})
    facts = ""
    if proof is not None:
        rows = "".join(f"<tr><td>{escape(s.check)}</td><td>{s.margin} {s.unit}</td>"
                       f"<td>{escape(str(s.line)) if s.line is not None else ''}</td></tr>"
                       for s in proof.slack.values())
        facts = (f"<h3>{'Proven' if proof.ok else 'Not proven'}</h3><table><tr><th>check</th>"
                 f"<th>to spare</th><th>where</th></tr>{rows}</table>")
    return _PAGE.format(title=escape(sheet.title), style=_STYLE, svg=svg, data=data, facts=facts,
                        script=_SCRIPT)
