#pragma once

namespace npuvp::estimate {

/// What a piece of a program takes.
struct Work {
    double cycles = 0.0;       ///< From its beginning to the beginning of what follows.
    double femtojoules = 0.0;  ///< Of instructions and SRAM; memory and static power apart.
    double vector = 0.0;       ///< Cycles for which the vector unit is taken.
    double matrix = 0.0;       ///< Cycles for which operands stream into the matrix unit.
    double macs = 0.0;         ///< Multiply-accumulates.
    double read = 0.0;         ///< Bytes of memory.
    double written = 0.0;      ///< Bytes of memory.

    /// Adds another piece but for its cycles.
    void beside(const Work& other, double times) {
        femtojoules += times * other.femtojoules;
        vector += times * other.vector;
        matrix += times * other.matrix;
        macs += times * other.macs;
        read += times * other.read;
        written += times * other.written;
    }

    /// Adds another piece, cycles included.
    void add(const Work& other, double times) {
        cycles += times * other.cycles;
        beside(other, times);
    }
};

}  // namespace npuvp::estimate
