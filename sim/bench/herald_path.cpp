// Clocks a Verilated path of the herald unit through attempts, one after the other: what the lines
// show comes from a tape for each attempt, played from its start on, and the next attempt starts
// so many ticks after the verdict. ports.h gives QC_TOP, the size of a sample word, and where the
// fields of `seen` are.

#include <cstdint>
#include <cstring>

#include "ports.h"
#include "verilated.h"

namespace {

constexpr int kLines = 9, kDetectors = 8, kCells = 32, kPatterns = 16;

// Ports of up to 64 bits are numbers, wider ones have limbs.
template <class Port>
void put(Port& port, const uint32_t* limbs) {
    if constexpr (std::is_integral_v<Port>) {
        port = static_cast<Port>(limbs[0] | static_cast<uint64_t>(limbs[1]) << 32);
    } else {
        std::memcpy(&port, limbs, sizeof port);
    }
}

struct Bench {
    VerilatedContext context;
    QC_TOP top{&context, "path"};
    uint64_t held = 0;  // level of the last sample, a bit for each line
    uint64_t busy = 0;  // lines whose last word was no rest
    uint32_t words[32] = {};

    void tick() {
        put(top.words, words);
        top.clk = 0;
        top.eval();
        top.clk = 1;
        top.eval();
    }

    uint32_t seen(int at, int width) const {
        const int limb = at >> 5, shift = at & 31;
        uint64_t both = top.seen[limb];
        if (shift + width > 32) both |= static_cast<uint64_t>(top.seen[limb + 1]) << 32;
        return (both >> shift) & ((uint64_t{1} << width) - 1);
    }

    void word(int line, unsigned __int128 bits) {
        constexpr int size = QC_WORD_BITS;
        for (int at = line * size, left = size; left > 0;) {
            const int limb = at >> 5, shift = at & 31;
            const int width = left < 32 - shift ? left : 32 - shift;
            const uint32_t mask = (width == 32 ? ~0u : (1u << width) - 1) << shift;
            words[limb] = (words[limb] & ~mask) | (static_cast<uint32_t>(bits) << shift & mask);
            bits >>= width;
            at += width;
            left -= width;
        }
    }

    void rest(int line) { word(line, held >> line & 1 ? (1 << QC_SAMPLES) - 1 : 0); }
};

}  // namespace

#define API extern "C" __attribute__((visibility("default")))

API Bench* qch_create() { return new Bench; }
API void qch_destroy(Bench* bench) { delete bench; }

API void qch_reset(Bench* bench) {
    auto& top = bench->top;
    top.start = top.cancel = top.clear_frame = top.entry_valid = 0;
    bench->held = bench->busy = 0;
    for (int line = 0; line < kLines; ++line) bench->rest(line);
    top.rst = 1;
    for (int i = 0; i < 4; ++i) bench->tick();
    top.rst = 0;
    bench->tick();
}

API void qch_settings(Bench* bench, int control, int earliest, int latest, uint64_t dead_ticks) {
    auto& top = bench->top;
    top.control = control;
    top.reference_earliest = earliest;
    top.reference_latest = latest;
    top.dead_ticks = dead_ticks;
    for (int i = 0; i < 8; ++i) bench->tick();
}

API void qch_write(Bench* bench, uint64_t entry) {
    bench->top.entry_valid = 1;
    bench->top.entry = entry;
    bench->tick();
    bench->top.entry_valid = 0;
    bench->tick();
}

struct Tapes {
    const int64_t *begin, *word, *line;
    const uint8_t* level;
    const uint16_t* fine;
    const int64_t *windows, *gap, *first, *second;
};

struct Verdicts {
    int64_t* tick;
    uint8_t *outcome, *pattern, *code, *missing, *twice;
    uint32_t* clicked;
    int32_t* delta;
    uint8_t *values, *erased, *frame;
    int64_t* counts;
};

// Returns the number of attempts that were decided, each within `limit` ticks; after one that was
// not there is nothing more. `wrong` counts ticks with a `decided` that nobody waits for, or with
// `busy` outside an attempt or not in one.
API size_t qch_run(Bench* bench, const Tapes* tapes, const Verdicts* out, size_t attempts,
                   int64_t limit, int64_t* wrong) {
    auto& top = bench->top;
    size_t next = 0, done = 0;
    int64_t now = 0, begun = 0, due = 0, at = 0, stop = 0, tail = 24;
    bool runs = false;
    while (tail > 0) {
        if (done == attempts) --tail;
        const bool decided = bench->seen(QC_DECIDED, 1);
        if (bench->seen(QC_BUSY, 1) != runs) ++*wrong;
        if (decided && !runs) ++*wrong;
        if (decided && runs) {
            const size_t k = done++;
            out->tick[k] = now;
            const int outcome = out->outcome[k] = bench->seen(QC_OUTCOME, 2);
            if (outcome == 0) {
                out->pattern[k] = bench->seen(QC_PATTERN, 4);
                out->code[k] = bench->seen(QC_CODE, 4);
            }
            out->missing[k] = bench->seen(QC_MISSING, 1);
            out->twice[k] = bench->seen(QC_DOUBLE, 1);
            out->clicked[k] = bench->seen(QC_CLICKED, 32);
            due = now + tapes->gap[k];
            runs = false;
            // Nothing more comes behind the last one.
            if (done == attempts) {
                while (stop > at && begun + tapes->word[stop - 1] >= due) --stop;
            }
        }
        if (done && now == out->tick[done - 1] + 2) {
            const size_t k = done - 1;
            out->values[k] = bench->seen(QC_VALUES, 8);
            out->erased[k] = bench->seen(QC_ERASED, 8);
            out->frame[k] = bench->seen(QC_FRAME, 8);
        }
        // Asked for in the verdict's tick, or already the next attempt's.
        if (done && now == out->tick[done - 1] + 3 && tapes->gap[done - 1] >= 2) {
            out->delta[done - 1] = bench->seen(QC_DELTA, 32);
        }
        for (uint32_t cells = bench->seen(QC_CELLS, 32); cells; cells &= cells - 1) {
            ++out->counts[__builtin_ctz(cells)];
        }
        for (uint32_t some = bench->seen(QC_PATTERNS, 16); some; some &= some - 1) {
            ++out->counts[kCells + __builtin_ctz(some)];
        }
        int64_t* counts = out->counts + kCells + kPatterns;
        for (const int where : {QC_STRAY, QC_DEAD, QC_CLICKS}) {
            if (const uint32_t all = bench->seen(where, 24)) {
                for (int i = 0; i < kDetectors; ++i) counts[i] += all >> 3 * i & 7;
            }
            counts += kDetectors;
        }

        top.start = 0;
        uint64_t loud = 0;
        if (!runs && next < attempts && next == done && now == due) {
            top.start = 1;
            top.windows = tapes->windows[next];
            top.first = tapes->first[next];
            top.second = tapes->second[next];
            at = tapes->begin[next];
            stop = tapes->begin[next + 1];
            begun = now;
            ++next;
            bench->held = 0;
            bench->busy = (1 << kLines) - 1;
        }
        for (; at < stop && begun + tapes->word[at] == now; ++at) {
            const int line = tapes->line[at];
            unsigned __int128 bits = tapes->level[at];
            if (QC_FINE_BITS) {
                for (int i = 0; i < QC_SAMPLES; ++i) {
                    bits |= static_cast<unsigned __int128>(tapes->fine[8 * at + i])
                            << (QC_SAMPLES + i * QC_FINE_BITS);
                }
            }
            bench->word(line, bits);
            loud |= uint64_t{1} << line;
            bench->held &= ~(uint64_t{1} << line);
            bench->held |= static_cast<uint64_t>(tapes->level[at] >> (QC_SAMPLES - 1) & 1) << line;
        }
        for (uint64_t quiet = bench->busy & ~loud; quiet; quiet &= quiet - 1) {
            bench->rest(__builtin_ctzll(quiet));
        }
        bench->busy = loud;
        bench->tick();
        if (top.start) runs = true;
        ++now;
        if (runs && now - begun > limit) break;
    }
    return done;
}
