// Clocks a Verilated decoder: rounds in at their times, records out with theirs.
// ports.h gives QC_TOP and the sizes of the wide ports.

#include <cstdint>
#include <cstring>

#include "ports.h"
#include "verilated.h"

namespace {

struct Bench {
    VerilatedContext context;
    QC_TOP top{&context, "decoder"};
    uint64_t clock = 0;
    uint64_t counts[4] = {};  // accepted, lost, duplicate, missing
    uint64_t stages[2][16] = {};

    void tick() {
        top.clk = 0;
        top.eval();
        top.clk = 1;
        top.eval();
        ++clock;
    }
};

// A port of any width takes its value from 32-bit limbs, the lowest first.
template <class Port>
void put(Port& port, const uint32_t* limbs) {
    if constexpr (sizeof(Port) <= 4) {
        port = static_cast<Port>(limbs[0]);
    } else if constexpr (sizeof(Port) == 8 && std::is_integral_v<Port>) {
        port = limbs[0] | static_cast<uint64_t>(limbs[1]) << 32;
    } else {
        for (size_t i = 0; i < sizeof(Port) / 4; ++i) port[i] = limbs[i];
    }
}

}  // namespace

#define API extern "C" __attribute__((visibility("default")))

API Bench* qcd_create() { return new Bench; }
API void qcd_destroy(Bench* bench) { delete bench; }

API void qcd_reset(Bench* bench) {
    auto& top = bench->top;
    top.rounds___05Fvalid = top.load_valid = top.enable = 0;
    top.records___05Fready = 1;
    top.rst = 1;
    for (int i = 0; i < 4; ++i) bench->tick();
    top.rst = 0;
    bench->tick();
}

API void qcd_settings(Bench* bench, int commit, int buffer, int reach, int correlation,
                      int matches, int references) {
    auto& top = bench->top;
    top.commit = commit;
    top.buffer = buffer;
    top.reach = reach;
    top.correlation = correlation;
    top.matches = matches;
    top.references = references;
}

API void qcd_load(Bench* bench, const uint32_t* words, size_t count) {
    bench->top.load_valid = 1;
    for (size_t i = 0; i < count; ++i) {
        put(bench->top.load, words + i * QC_LOAD_LIMBS);
        bench->tick();
    }
    bench->top.load_valid = 0;
    bench->tick();
    bench->top.enable = 1;
}

// Sends `rounds` rounds, the one behind another no less than `gaps[i]` clocks apart; `throttle`
// holds them back while the queue has fewer than four places. Goes on until `windows` timing
// records have come, `limit` clocks have passed, or `room` records are written. Returns how many
// records there are; `sent` becomes the number of rounds that were sent.
API size_t qcd_run(Bench* bench, const uint32_t* words, const int32_t* gaps, size_t rounds,
                   int throttle, uint64_t windows, uint64_t limit, uint64_t* records,
                   uint64_t* times, size_t room, size_t* sent, int32_t* backlog) {
    auto& top = bench->top;
    size_t next = 0, found = 0;
    uint64_t due = bench->clock, seen = 0;
    const uint64_t end = bench->clock + limit;
    while (bench->clock < end && seen < windows && found < room) {
        const bool send = next < rounds && bench->clock >= due
                          && !(throttle && top.backlog + 4 >= QC_WAITING);
        top.rounds___05Fvalid = send;
        if (send) {
            put(top.rounds___05Fpayload, words + next * QC_ROUND_LIMBS);
            backlog[next] = top.backlog;
            due = bench->clock + 1 + gaps[next];
            ++next;
        }
        // Outputs that depend on this clock's inputs are looked at just before its edge.
        top.clk = 0;
        top.eval();
        if (top.records___05Fvalid) {
            const uint64_t record = top.records___05Fpayload;
            records[found] = record;
            times[found++] = bench->clock;
            seen += record >> 60 == QC_TIMING;
        }
        bench->counts[0] += top.accepted;
        bench->counts[1] += top.lost;
        bench->counts[2] += top.duplicates;
        if (top.missing) bench->counts[3] += top.missing_count;
        ++bench->stages[0][top.stages___05F0];
        ++bench->stages[1][top.stages___05F1];
        top.clk = 1;
        top.eval();
        ++bench->clock;
    }
    top.rounds___05Fvalid = 0;
    *sent = next;
    return found;
}

API uint64_t qcd_clock(const Bench* bench) { return bench->clock; }
API uint64_t qcd_stage(const Bench* bench, int basis, int which) {
    return bench->stages[basis][which];
}
API uint64_t qcd_count(const Bench* bench, int which) { return bench->counts[which]; }
