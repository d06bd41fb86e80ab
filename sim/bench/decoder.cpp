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
    std::memset(bench->counts, 0, sizeof bench->counts);
    std::memset(bench->stages, 0, sizeof bench->stages);
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

// Sends `rounds` rounds, the one behind another no less than `gaps[i]` clocks apart; those of
// `hold` wait while the queue has fewer than four places. In a clock in which records are taken,
// they are refused for up to 256 clocks with a chance of `stall` in 65536. Goes on until `windows`
// timing records have come, `limit` clocks have passed, or `room` records are written. Returns how
// many records there are; `sent` becomes the number of rounds that were sent, `backlog[i]` the
// rounds that one of them found waiting, `fates[i]` what became of it: accepted (1), lost (2), a
// duplicate (3). Fates are told apart by their order, which is that of the rounds where there is a
// clock between them.
API size_t qcd_run(Bench* bench, const uint32_t* words, const int32_t* gaps, const uint8_t* hold,
                   size_t rounds, int stall, uint64_t seed, uint64_t windows, uint64_t limit,
                   uint64_t* records, uint64_t* times, size_t room, size_t* sent,
                   int32_t* backlog, uint8_t* fates) {
    auto& top = bench->top;
    size_t next = 0, found = 0, known = 0;
    uint64_t due = bench->clock, seen = 0, refuse = 0, random = seed | 1;
    const uint64_t end = bench->clock + limit;
    while (bench->clock < end && seen < windows && found < room) {
        const bool send = next < rounds && bench->clock >= due
                          && !(hold[next] && top.backlog + 4 >= QC_WAITING);
        top.rounds___05Fvalid = send;
        if (send) {
            put(top.rounds___05Fpayload, words + next * QC_ROUND_LIMBS);
            backlog[next] = top.backlog;
            due = bench->clock + 1 + gaps[next];
            ++next;
        }
        if (refuse) {
            --refuse;
        } else if (stall) {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            // Short ones as often as long ones.
            if ((random & 0xffff) < static_cast<uint64_t>(stall)) {
                refuse = uint64_t{1} << (random >> 16) % 9;
            }
        }
        top.records___05Fready = !refuse;
        // Outputs that depend on this clock's inputs are looked at just before its edge.
        top.clk = 0;
        top.eval();
        if (top.records___05Fvalid && !refuse) {
            const uint64_t record = top.records___05Fpayload;
            records[found] = record;
            times[found++] = bench->clock;
            seen += record >> 60 == QC_TIMING;
        }
        bench->counts[0] += top.accepted;
        bench->counts[1] += top.lost;
        bench->counts[2] += top.duplicates;
        if (top.missing) bench->counts[3] += top.missing_count;
        const int fate = top.accepted ? 1 : top.lost ? 2 : top.duplicates ? 3 : 0;
        if (fate && known < rounds) fates[known++] = fate;
        ++bench->stages[0][top.stages___05F0];
        ++bench->stages[1][top.stages___05F1];
        top.clk = 1;
        top.eval();
        ++bench->clock;
    }
    top.rounds___05Fvalid = 0;
    top.records___05Fready = 1;
    *sent = next;
    return found;
}

API uint64_t qcd_clock(const Bench* bench) { return bench->clock; }
API uint64_t qcd_stage(const Bench* bench, int basis, int which) {
    return bench->stages[basis][which];
}
API uint64_t qcd_count(const Bench* bench, int which) { return bench->counts[which]; }
