// The clock loop of a virtual node: owns the Verilated model, the host's line and the inputs.
//
// Compiled together with the model and `ports.h`, which quantacore.sim.node.build writes from the
// component's signature: it defines qc_top (the model), INPUTS, SAMPLES, FINE, LINK_PIPE and
// set_input(). Python loads the shared library with ctypes (quantacore.sim.node.engine) and never
// steps a clock: it hands over bytes and edge times and calls qc_advance().
//
// Clocking. The Verilog's `posedge clk` is rewritten to "either edge" before it is Verilated, so
// every change of `clk` is one tick and one evaluation; nothing else differs. Within a tick:
// set inputs, settle combinational paths if a link input changed, take handshakes, clock. With
// BY_NEED (see activity.py) the model does all of that in one evaluation.
//
// Networks. A wire carries the value of an output of one node to an input of another, so many
// ticks later. Nodes of a network run in quanta that are no longer than the shortest wire, one
// after the other: what arrives in a quantum was sent before it. qc_network_run() does that, and
// comes back if a line rose that somebody wakes up for. Libraries of different nodes share these
// structures: they are compiled from this one file by one compiler.

#include <cstdint>
#include <cstring>
#include <limits>
#include <functional>
#include <memory>
#include <queue>
#include <vector>

#include "verilated.h"
#include "ports.h"

double sc_time_stamp() { return 0; }

namespace {

constexpr int64_t NEVER = std::numeric_limits<int64_t>::max();
constexpr int64_t FINE_PER_TICK = 8192;
constexpr int64_t FINE_PER_SAMPLE = FINE_PER_TICK / SAMPLES;

// Why qc_advance() came back; quantacore.sim.node.engine.Stop has the same values.
enum Reason {
    TICKS = 0, OUTPUT = 1, QUIET = 2, EDGES = 3, HOST = 4, STARTED = 5, FAILED = 6, WOKEN = 7
};

enum Drive { PULSE = 0, TOGGLE = 1 };

// A queue in one block of memory: photons and bytes arrive in batches and leave one by one.
template <typename T> class Fifo {
    std::vector<T> items_;
    size_t head_ = 0;

  public:
    bool empty() const { return head_ == items_.size(); }
    size_t size() const { return items_.size() - head_; }
    const T& front() const { return items_[head_]; }
    const T* data() const { return items_.data() + head_; }
    void push(const T& item) { items_.push_back(item); }
    void append(const T* from, size_t count) {
        compact();
        items_.insert(items_.end(), from, from + count);
    }
    void pop(size_t count = 1) {
        head_ += count;
        if (head_ == items_.size()) clear();
    }
    void compact() {
        if (head_ > items_.size() / 2) {
            items_.erase(items_.begin(), items_.begin() + static_cast<std::ptrdiff_t>(head_));
            head_ = 0;
        }
    }
    void clear() {
        items_.clear();
        head_ = 0;
    }
};

struct Transition {
    int64_t sample;
    int32_t fine;
};

// One input: edge times become level transitions, and transitions become sample words.
struct Input {
    int drive = PULSE;
    int64_t width = 1;
    // Transitions alternate high, low, high ...; `level` is the one before the next.
    Fifo<Transition> transitions;
    unsigned level = 0;
    // The last rise whose fall is not decided yet: the next edge may come before it (PULSE).
    bool open = false;
    Transition rise{0, 0};
    int64_t last_sample = std::numeric_limits<int64_t>::min() / 2;
    // Ticks before this one may run: every edge that can touch them is known.
    int64_t limit = NEVER;
    // The tick whose word differs from the present one.
    int64_t next = NEVER;
    uint64_t driven = 0;
    uint64_t merged = 0;
    // A live input is fed while time passes, in any order and up to the last moment. Its pulses
    // are never cut short, and its detector is blind for `dead` fine units after a click.
    std::priority_queue<int64_t, std::vector<int64_t>, std::greater<int64_t>> photons;
    int64_t dead = 0;
    int64_t ready = 0;
    uint64_t blind = 0;

    // Photons before this time become transitions.
    void click(int64_t before) {
        while (!photons.empty() && photons.top() < before) {
            const int64_t time = photons.top();
            photons.pop();
            if (time < ready) {
                ++blind;
                continue;
            }
            ready = time + dead;
            const Transition at{time / FINE_PER_SAMPLE,
                                static_cast<int32_t>(time % FINE_PER_SAMPLE)};
            // One low sample between two pulses, or the second can't be seen.
            if (at.sample <= last_sample) {
                ++merged;
                continue;
            }
            last_sample = at.sample + width;
            transitions.push(at);
            transitions.push({last_sample, at.fine});
            ++driven;
        }
    }

    void fall(int64_t next_rise) {
        const int64_t end = rise.sample + width;
        // A shortened pulse ends at the start of the last sample that leaves the next rise visible.
        if (end < next_rise) transitions.push({end, rise.fine});
        else transitions.push({next_rise - 1, 0});
        open = false;
    }

    void feed(const int64_t* times, size_t count, int64_t horizon) {
        transitions.compact();
        for (size_t k = 0; k < count; ++k) {
            const Transition at{times[k] / FINE_PER_SAMPLE,
                                static_cast<int32_t>(times[k] % FINE_PER_SAMPLE)};
            const int64_t distance = at.sample - last_sample;
            if (distance < (drive == PULSE ? 2 : 1)) {
                ++merged;
                continue;
            }
            if (open) fall(at.sample);
            transitions.push(at);
            last_sample = at.sample;
            ++driven;
            if (drive == PULSE) {
                rise = at;
                open = true;
            }
        }
        if (horizon == NEVER) {
            if (open) fall(NEVER);
            limit = NEVER;
        } else {
            const int64_t known = horizon / FINE_PER_SAMPLE;
            if (open && rise.sample + width < known) fall(known);
            // The rise that is still open lies within `width` samples of the horizon, and so does
            // its fall: the samples up to there are final.
            const int64_t last = known - (drive == PULSE ? width + 1 : 0);
            limit = last > 0 ? last / SAMPLES : 0;
        }
    }

    int64_t due() const {
        const int64_t next = transitions.empty() ? NEVER : transitions.front().sample / SAMPLES;
        if (photons.empty()) return next;
        const int64_t photon = photons.top() / FINE_PER_TICK;
        return photon < next ? photon : next;
    }
};

// Bit clock of a UART in exact arithmetic: a bit lasts `period` steps and a tick is `step` steps.
struct BitTime {
    int64_t period = 0;
    int64_t step = 1;
};

// The host's transmitter. Bits follow each other without rounding, over bytes as well.
struct LineOut {
    BitTime bit;
    int64_t phase = 0;
    int left = 0;
    unsigned shift = 0;

    bool busy() const { return left > 0; }
    // Level of the line in this tick.
    unsigned tick(Fifo<uint8_t>& bytes, bool& took) {
        if (left == 0) {
            if (bytes.empty()) {
                phase = 0;
                return 1;
            }
            shift = (static_cast<unsigned>(bytes.front()) << 1) | 0x200u;
            left = 10;
            bytes.pop();
            took = true;
        }
        const unsigned level = shift & 1u;
        phase += bit.step;
        if (phase >= bit.period) {
            phase -= bit.period;
            shift >>= 1;
            --left;
        }
        return level;
    }
};

// The host's receiver: starts on a falling line, samples the middle of every bit.
struct LineIn {
    BitTime bit;
    bool active = false;
    unsigned previous = 1;
    int64_t phase = 0;
    int64_t due = 0;
    int bits = 0;
    unsigned shift = 0;
    uint64_t framing = 0;

    bool busy() const { return active; }
    bool tick(unsigned level, uint8_t& byte) {
        bool done = false;
        if (!active) {
            if (previous == 1 && level == 0) {
                active = true;
                phase = 0;
                // Twice the phase, so that half a bit is exact.
                due = bit.period;
                bits = 0;
                shift = 0;
            }
        }
        if (active) {
            phase += 2 * bit.step;
            if (phase > due) {
                due += 2 * bit.period;
                if (bits == 0 && level == 1) {
                    active = false;  // a glitch, not a start bit
                } else if (bits == 9) {
                    active = false;
                    if (level == 1) {
                        byte = static_cast<uint8_t>(shift >> 1);
                        done = true;
                    } else {
                        ++framing;
                    }
                } else {
                    shift |= level << bits;
                }
                ++bits;
            }
        }
        previous = level;
        return done;
    }
};

struct OutputEdge {
    int64_t tick;
    uint8_t line;
    uint8_t level;
};

struct Change {
    int64_t tick;
    uint32_t value;
};

// Faults of a wire, as thresholds out of 2**53. A word is a tick in which `valid` is high, a
// burst is a run of words.
struct Faults {
    int64_t drop = 0;
    int64_t flip = 0;
    int64_t lose = 0;
    uint64_t random = 0;

    bool any() const { return drop || flip || lose; }
    // SplitMix64 (Steele, Lea and Flood 2014).
    uint64_t next() {
        uint64_t z = (random += 0x9e3779b97f4a7c15u);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        return z ^ (z >> 31);
    }
    bool happens(int64_t threshold) {
        return threshold && static_cast<int64_t>(next() >> 11) < threshold;
    }
};

// Changes on their way from an output to an input.
struct Wire {
    Fifo<Change> changes;
    int64_t delay = 1;
    // The bit of the value that says there is a word, and how many bits the word has; 0: the
    // value has no such bit, and no faults.
    uint32_t valid = 0;
    int width = 0;
    Faults faults;
    bool cut = false;
    bool in_burst = false;
    bool burst_lost = false;
    uint32_t sent = 0;
    uint64_t words = 0;
    uint64_t dropped = 0;
    uint64_t flipped = 0;

    // The output has this value in this tick.
    void put(int64_t tick, uint32_t value) {
        const bool word = value & valid;
        if (word) {
            ++words;
            if (!in_burst) burst_lost = faults.happens(faults.lose);
            if (cut || burst_lost || faults.happens(faults.drop)) {
                ++dropped;
                value = 0;
            } else if (faults.happens(faults.flip)) {
                ++flipped;
                value ^= 1u << (faults.next() >> 32) % static_cast<unsigned>(width);
            }
        } else if (cut) {
            value = 0;
        }
        in_burst = word;
        if (value == sent) return;
        sent = value;
        changes.push({tick + delay, value});
    }
};

// Where a wire begins: some bits of an output.
struct Tap {
    int output;
    int low;
    uint32_t mask;
    Wire* wire;
    uint32_t value;
};

// Where a wire ends: some bits of a pin.
struct Sink {
    int pin;
    int low;
    uint32_t mask;
    Wire* wire;
};

struct Engine {
    std::unique_ptr<VerilatedContext> context;
    std::unique_ptr<qc_top> top;
    int64_t tick = 0;
    Input inputs[INPUTS];
    int64_t next_event = NEVER;
    int64_t input_limit = NEVER;

    Fifo<uint8_t> to_node;
    Fifo<uint8_t> to_host;
    size_t host_limit = 1 << 20;
    bool stall_line = false;
    bool settle_always = false;
    uint64_t bytes_in = 0;
    uint64_t bytes_out = 0;
    uint64_t bytes_lost = 0;
    int64_t last_traffic = 0;
    LineOut line_out;
    LineIn line_in;

    bool watch_start = false;
    Lines outputs = 0;
    uint32_t pins[PINS + 1] = {};
    std::vector<OutputEdge> edges;
    size_t edges_limit = 1 << 20;
    uint64_t edges_lost = 0;
    Lines recorded = static_cast<Lines>(-1);

    std::vector<Tap> taps;
    std::vector<Sink> sinks;
    // Rises of these lines are kept for the network's models, and some of them wake it.
    Lines listened = 0;
    Lines waking = 0;
    std::vector<OutputEdge> rises;
    int woken = 0;

    Engine() {
        power_up();
        outputs = watched_outputs(*top);
    }
    ~Engine() { top->final(); }

    void power_up() {
        if (top) top->final();
        top.reset();
        context.reset(new VerilatedContext);
        top.reset(new qc_top(context.get(), "node"));
        top->clk = 0;
        for (int k = 0; k < INPUTS; ++k) drive_steady(k);
        for (int k = 0; k < PINS; ++k) set_pin(*top, k, pins[k]);
        idle_link();
        top->eval();
    }

    // The node is off for some ticks and then as it was at tick 0; the world around it goes on.
    void power_cycle(int64_t ticks) {
        for (Tap& tap : taps) {
            tap.value = 0;
            tap.wire->put(tick, 0);
        }
        tick += ticks;
        for (Input& in : inputs) {
            in.click(tick * FINE_PER_TICK);
            while (!in.transitions.empty() && in.transitions.front().sample < tick * SAMPLES) {
                in.transitions.pop();
                in.level ^= 1u;
            }
            in.next = in.due();
        }
        schedule();
        to_node.clear();
        line_out.left = 0;
        line_in.active = false;
        line_in.previous = 1;
        last_traffic = tick;
        power_up();
        record(watched_outputs(*top));
        tap_outputs();
    }

    void idle_link() {
#if LINK_PIPE
        top->QC_RX_VALID = 0;
        top->QC_RX_PAYLOAD = 0;
        top->QC_TX_READY = 0;
#else
        top->rxd = 1;
#endif
    }

    void drive_steady(int k) {
        uint32_t word[4] = {inputs[k].level ? (1u << SAMPLES) - 1u : 0u, 0, 0, 0};
        set_input(*top, k, word);
    }

    // The word of input k for this tick; returns whether it has to be replaced in the next tick.
    bool drive_word(int k) {
        Input& in = inputs[k];
        uint32_t word[4] = {0, 0, 0, 0};
        const int64_t first = tick * SAMPLES;
        if (!in.photons.empty()) in.click((tick + 1) * FINE_PER_TICK);
        bool edge = false;
        unsigned level = in.level;
        unsigned levels = level ? (1u << SAMPLES) - 1u : 0u;
        while (!in.transitions.empty() && in.transitions.front().sample < first + SAMPLES) {
            const Transition at = in.transitions.front();
            in.transitions.pop();
            const int i = static_cast<int>(at.sample - first);
            level ^= 1u;
            levels ^= ((1u << SAMPLES) - 1u) & ~((1u << i) - 1u);
            if (FINE) {
                const int offset = SAMPLES + i * FINE_WIDTH;
                const uint64_t code = static_cast<uint64_t>(at.fine) << (offset % 32);
                word[offset / 32] |= static_cast<uint32_t>(code);
                if (code >> 32) word[offset / 32 + 1] |= static_cast<uint32_t>(code >> 32);
            }
            edge = true;
        }
        in.level = level;
        word[0] |= levels;
        set_input(*top, k, word);
        return edge;
    }

    void schedule() {
        next_event = NEVER;
        for (const Input& in : inputs)
            if (in.next < next_event) next_event = in.next;
        for (const Sink& sink : sinks)
            if (!sink.wire->changes.empty() && sink.wire->changes.front().tick < next_event)
                next_event = sink.wire->changes.front().tick;
    }

    void receive(const Sink& sink) {
        Fifo<Change>& changes = sink.wire->changes;
        if (changes.empty() || changes.front().tick > tick) return;
        uint32_t value = 0;
        while (!changes.empty() && changes.front().tick <= tick) {
            value = changes.front().value;
            changes.pop();
        }
        pins[sink.pin] = (pins[sink.pin] & ~sink.mask) | (value << sink.low & sink.mask);
        set_pin(*top, sink.pin, pins[sink.pin]);
    }

    void tap_outputs() {
        for (Tap& tap : taps) {
            const uint32_t value = get_output(*top, tap.output) >> tap.low & tap.mask;
            // Every word of a wire that counts or spoils them is looked at.
            if (value == tap.value && !(value & tap.wire->valid)) continue;
            tap.value = value;
            tap.wire->put(tick - (BY_NEED && LATE_OUTPUT[tap.output]), value);
            // The wire may end at this very node.
            if (tick + tap.wire->delay < next_event) next_event = tick + tap.wire->delay;
        }
    }

    void drive_inputs() {
        for (const Sink& sink : sinks) receive(sink);
        for (int k = 0; k < INPUTS; ++k) {
            Input& in = inputs[k];
            if (in.next > tick) continue;
            in.next = drive_word(k) ? tick + 1 : in.due();
        }
        schedule();
    }

    void clock() {
        top->clk = !top->clk;
        top->eval();
    }

    int advance(int64_t end, int64_t want, int64_t flush, int64_t quiet) {
        bool host_full = false;
        // Wires may have brought something since.
        if (!sinks.empty()) schedule();
        while (true) {
            const int64_t waiting = static_cast<int64_t>(to_host.size());
            if (want > 0 && waiting >= want) return OUTPUT;
            if (tick >= end) return TICKS;
            const int64_t silence = tick - last_traffic;
            if (flush > 0 && waiting && silence >= flush) return OUTPUT;
            if (quiet > 0 && silence >= quiet && to_node.empty()) return QUIET;
            if (tick >= input_limit) return EDGES;
            host_full = to_host.size() >= host_limit;
            if (host_full && !stall_line) return HOST;
            if (context->gotFinish()) return FAILED;

            if (tick >= next_event) drive_inputs();

#if LINK_PIPE
            [[maybe_unused]] bool settle = settle_always;
            const bool sending = !to_node.empty();
            if (sending != static_cast<bool>(top->QC_RX_VALID)) {
                top->QC_RX_VALID = sending;
                settle = true;
            }
            if (sending && top->QC_RX_PAYLOAD != to_node.front()) {
                top->QC_RX_PAYLOAD = to_node.front();
                settle = true;
            }
            if (static_cast<bool>(top->QC_TX_READY) == host_full) {
                top->QC_TX_READY = !host_full;
                settle = true;
            }
#if BY_NEED
            // One evaluation takes the inputs in, answers, and makes the tick.
            clock();
#else
            if (settle) top->eval();
#endif
            if (sending && top->QC_RX_READY) {
                to_node.pop();
                ++bytes_in;
                last_traffic = tick;
            }
            if (top->QC_TX_VALID) {
                last_traffic = tick;
                if (!host_full) {
                    to_host.push(static_cast<uint8_t>(top->QC_TX_PAYLOAD));
                    ++bytes_out;
                }
            }
#if !BY_NEED
            clock();
#endif
#else
            bool took = false;
            top->rxd = line_out.tick(to_node, took);
            if (took) ++bytes_in;
            if (settle_always && !BY_NEED) top->eval();
            uint8_t byte;
            if (line_in.tick(top->txd, byte)) {
                // A UART has no way to say stop: what the host has no room for is gone.
                if (host_full) ++bytes_lost;
                else to_host.push(byte);
                ++bytes_out;
            }
            if (line_out.busy() || line_in.busy()) last_traffic = tick;
            clock();
#endif
            ++tick;
            if (!taps.empty()) tap_outputs();
            const Lines now = watched_outputs(*top);
            if (now != outputs) {
                record(now);
                if (watch_start && (now & RUNNING_BIT)) {
                    watch_start = false;
                    return STARTED;
                }
            }
        }
    }

    void record(Lines now) {
        if (now == outputs) return;
        const Lines changed = now ^ outputs;
        if (changed & (recorded | listened)) {
            for (unsigned line = 0; line < WATCHED; ++line) {
                if (!(changed >> line & 1u)) continue;
                const OutputEdge edge{tick - (BY_NEED && (COMBINATIONAL >> line & 1u)),
                                      static_cast<uint8_t>(line),
                                      static_cast<uint8_t>(now >> line & 1u)};
                if (edge.level && listened >> line & 1u) {
                    rises.push_back(edge);
                    woken |= static_cast<int>(waking >> line & 1u);
                }
                if (!(recorded >> line & 1u)) continue;
                if (edges.size() >= edges_limit) ++edges_lost;
                else edges.push_back(edge);
            }
        }
        outputs = now;
    }
};

// One node of a network, in whatever library.
struct Member {
    Engine* engine;
    int (*advance)(Engine*, int64_t, int64_t, int64_t, int64_t);
    int* woken;
};

struct Network {
    std::vector<Member> members;
    int64_t quantum = 1;
    // All that happens before this tick has happened.
    int64_t tick = 0;
    int who = 0;

    int run(int64_t end, int64_t flush) {
        while (tick < end) {
            const int64_t target = end - tick > quantum ? tick + quantum : end;
            int woken = 0;
            for (size_t k = 0; k < members.size(); ++k) {
                const Member& member = members[k];
                const int reason = member.advance(member.engine, target, 0, flush, 0);
                if (reason != TICKS) {
                    who = static_cast<int>(k);
                    return reason;
                }
                woken |= *member.woken;
            }
            tick = target;
            if (woken) {
                for (const Member& member : members) *member.woken = 0;
                return WOKEN;
            }
        }
        return TICKS;
    }
};

}  // namespace

#define QC_API extern "C" __attribute__((visibility("default")))

QC_API Engine* qc_create() { return new Engine; }
QC_API void qc_destroy(Engine* e) { delete e; }
QC_API int64_t qc_tick(Engine* e) { return e->tick; }
QC_API int qc_advance(Engine* e, int64_t end, int64_t want, int64_t flush, int64_t quiet) {
    return e->advance(end, want, flush, quiet);
}
QC_API void qc_send(Engine* e, const uint8_t* bytes, size_t count) {
    e->to_node.append(bytes, count);
    e->last_traffic = e->tick;
}
QC_API size_t qc_unsent(Engine* e) { return e->to_node.size(); }
QC_API size_t qc_available(Engine* e) { return e->to_host.size(); }
QC_API size_t qc_receive(Engine* e, uint8_t* bytes, size_t count) {
    const size_t have = e->to_host.size();
    if (count > have) count = have;
    if (count) std::memcpy(bytes, e->to_host.data(), count);
    e->to_host.pop(count);
    e->to_host.compact();
    return count;
}
QC_API void qc_line(Engine* e, size_t limit, int stall_line, int settle_always) {
    e->host_limit = limit;
    e->stall_line = stall_line;
    e->settle_always = settle_always;
}
QC_API void qc_bit_time(Engine* e, int64_t period, int64_t step) {
    e->line_out.bit = {period, step};
    e->line_in.bit = {period, step};
}
QC_API void qc_input(Engine* e, int k, int drive, int64_t width) {
    e->inputs[k].drive = drive;
    e->inputs[k].width = width;
}
QC_API void qc_feed(Engine* e, int k, const int64_t* times, size_t count, int64_t horizon) {
    Input& in = e->inputs[k];
    in.feed(times, count, horizon);
    // A word with an edge has to be followed by a steady one, whatever has been fed meanwhile.
    const int64_t due = in.due();
    if (due < in.next) in.next = due;
    e->schedule();
    e->input_limit = NEVER;
    for (const Input& other : e->inputs)
        if (other.limit < e->input_limit) e->input_limit = other.limit;
}
QC_API void qc_power_cycle(Engine* e, int64_t ticks) { e->power_cycle(ticks); }
QC_API void qc_pin(Engine* e, int pin, uint32_t value) {
    e->pins[pin] = value;
    set_pin(*e->top, pin, value);
}
QC_API void qc_watch_start(Engine* e, int on) { e->watch_start = on; }
QC_API int64_t qc_statistic(Engine* e, int which) {
    switch (which) {
        case 0: return static_cast<int64_t>(e->bytes_in);
        case 1: return static_cast<int64_t>(e->bytes_out);
        case 2: return static_cast<int64_t>(e->bytes_lost);
        case 3: return static_cast<int64_t>(e->line_in.framing);
        case 4: return static_cast<int64_t>(e->edges_lost);
        case 5: return e->input_limit;
        case 6: return e->last_traffic;
        case 7: return e->next_event != NEVER;
    }
    return -1;
}
QC_API int64_t qc_driven(Engine* e, int k) { return static_cast<int64_t>(e->inputs[k].driven); }
QC_API int64_t qc_merged(Engine* e, int k) { return static_cast<int64_t>(e->inputs[k].merged); }
QC_API void qc_record(Engine* e, uint64_t lines) { e->recorded = static_cast<Lines>(lines); }
QC_API void qc_live(Engine* e, int k, int64_t dead) { e->inputs[k].dead = dead; }
// Gives a live input photons; says how many of them came too late and are not taken.
QC_API size_t qc_photons(Engine* e, int k, const int64_t* times, size_t count) {
    Input& in = e->inputs[k];
    size_t late = 0;
    for (size_t n = 0; n < count; ++n) {
        if (times[n] < e->tick * FINE_PER_TICK) ++late;
        else in.photons.push(times[n]);
    }
    if (in.due() < in.next) in.next = in.due();
    e->schedule();
    return late;
}
QC_API int64_t qc_blind(Engine* e, int k) { return static_cast<int64_t>(e->inputs[k].blind); }
QC_API void qc_listen(Engine* e, uint64_t listened, uint64_t waking) {
    e->listened = static_cast<Lines>(listened);
    e->waking = static_cast<Lines>(waking);
}
QC_API size_t qc_rises(Engine* e, int64_t* ticks, uint8_t* lines, size_t count) {
    const size_t have = e->rises.size();
    if (count < have) return have;
    for (size_t k = 0; k < have; ++k) {
        ticks[k] = e->rises[k].tick;
        lines[k] = e->rises[k].line;
    }
    e->rises.clear();
    return have;
}
QC_API Wire* qc_wire_create(int64_t delay, uint32_t valid, int width) {
    Wire* wire = new Wire;
    wire->delay = delay;
    wire->valid = valid;
    wire->width = width;
    return wire;
}
QC_API void qc_wire_destroy(Wire* wire) { delete wire; }
QC_API void qc_wire_faults(Wire* wire, int64_t drop, int64_t flip, int64_t lose, uint64_t seed) {
    wire->faults = {drop, flip, lose, seed};
}
QC_API void qc_wire_cut(Wire* wire, int cut) { wire->cut = cut; }
QC_API int64_t qc_wire_count(Wire* wire, int which) {
    return static_cast<int64_t>(which == 0 ? wire->words : which == 1 ? wire->dropped
                                                                      : wire->flipped);
}
QC_API void qc_tap(Engine* e, int output, int low, uint32_t mask, Wire* wire) {
    const uint32_t value = get_output(*e->top, output) >> low & mask;
    e->taps.push_back({output, low, mask, wire, value});
    wire->put(e->tick, value);
}
QC_API void qc_sink(Engine* e, int pin, int low, uint32_t mask, Wire* wire) {
    e->sinks.push_back({pin, low, mask, wire});
}
QC_API int* qc_woken(Engine* e) { return &e->woken; }
QC_API Network* qc_network_create(int64_t quantum, int64_t tick) {
    Network* network = new Network;
    network->quantum = quantum;
    network->tick = tick;
    return network;
}
QC_API void qc_network_destroy(Network* network) { delete network; }
QC_API void qc_network_add(Network* network, Engine* engine,
                           int (*advance)(Engine*, int64_t, int64_t, int64_t, int64_t),
                           int* woken) {
    network->members.push_back({engine, advance, woken});
}
QC_API int qc_network_run(Network* network, int64_t end, int64_t flush) {
    return network->run(end, flush);
}
QC_API int64_t qc_network_tick(Network* network) { return network->tick; }
QC_API int qc_network_who(Network* network) { return network->who; }
QC_API size_t qc_output_edges(Engine* e, int64_t* ticks, uint8_t* lines, uint8_t* levels,
                              size_t count) {
    if (count < e->edges.size()) return e->edges.size();
    count = e->edges.size();
    for (size_t k = 0; k < count; ++k) {
        ticks[k] = e->edges[k].tick;
        lines[k] = e->edges[k].line;
        levels[k] = e->edges[k].level;
    }
    e->edges.clear();
    return count;
}
