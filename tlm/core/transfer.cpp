// DMA instructions: from registers to descriptors.
#include <algorithm>
#include <cstring>

#include "core/core.h"
#include "numerics/bf16.h"

namespace npuvp::core {

using isa::Op;
using numerics::MxFormat;

/// Rows of `elements` values between memory and an SRAM.
struct Core::Transfer {
    Space space = Space::vector;
    bool to_sram = true;
    std::uint64_t first = 0;   ///< SRAM row (vector, matrix) or word (fp, integer)
    std::uint64_t step = 1;    ///< SRAM rows or words from one row to the next
    std::uint64_t extent = 1;  ///< SRAM rows or words that one row takes
    std::uint64_t rows = 0;
    std::uint64_t elements = 0;  ///< per row
    MxFormat format = MxFormat::bf16;
    std::uint64_t block = 32;
    std::uint64_t address = 0;           ///< of the elements of row 0
    std::uint64_t pitch = 0;             ///< bytes
    std::uint64_t scales = 0;            ///< address of the scales of row 0
    std::uint64_t ratio = 1;             ///< element bytes per scale byte
    std::vector<std::uint64_t> numbers;  ///< row numbers in memory; empty: 0, 1, 2, ...
    float fill = 0.0f;
    std::uint8_t tag = 0;
    Ready ready = 0;  ///< of what else the instruction reads
};

namespace {

// Of one H_COPY: it needs a buffer, and each row its place in it.
constexpr std::uint64_t most_copied = 1u << 30;  // bytes
constexpr std::uint64_t most_copied_rows = 1u << 20;

/// Formats as CSR dma_format numbers them.
MxFormat csr_format(std::uint32_t number) {
    constexpr MxFormat table[] = {MxFormat::mxfp8_e4m3, MxFormat::mxfp8_e5m2, MxFormat::mxfp6_e3m2,
                                  MxFormat::mxfp6_e2m3, MxFormat::mxfp4_e2m1, MxFormat::mxint8,
                                  MxFormat::mxint4,     MxFormat::plena_e4m3, MxFormat::bf16,
                                  MxFormat::fp32,       MxFormat::fp32};
    if (number >= std::size(table))
        throw Trap{"no such DMA format",
                   "dma_format = " + std::to_string(number) + ", allowed: 0..10"};
    return table[number];
}

/// Element bytes that share one scale byte; 0 where that is no whole number.
std::uint64_t scale_ratio(MxFormat format, std::uint64_t block) {
    const std::uint64_t bits = numerics::mx_traits(format).element_bits * block;
    return bits % 8 == 0 ? bits / 8 : 0;
}

void add_segment(std::vector<Segment>& segments, std::uint64_t address, std::uint64_t bytes,
                 std::uint64_t staging) {
    if (bytes == 0) return;
    if (!segments.empty()) {
        Segment& last = segments.back();
        if (last.address + last.bytes == address && last.staging + last.bytes == staging) {
            last.bytes += static_cast<std::uint32_t>(bytes);
            return;
        }
    }
    segments.push_back(
        {address, static_cast<std::uint32_t>(bytes), static_cast<std::uint32_t>(staging)});
}

}  // namespace

/// Row numbers for gather and scatter, from INT SRAM. Unknown ones are decisions.
std::vector<std::uint64_t> Core::gather_rows(std::uint64_t index, std::uint64_t count) {
    std::vector<std::uint64_t> numbers(count);
    for (std::uint64_t i = 0; i < count; ++i) {
        if (int_tainted(index + i))
            int_sram_[index + i] = decide(int_sram_[index + i], "a gathered row");
        set_int_taint(index + i, false);
        numbers[i] = int_sram_[index + i];
    }
    return numbers;
}

bool Core::execute_dma(const D& d) {
    const std::uint32_t offset = gp_[d.rs1];
    const std::uint64_t base = ha_[d.rs2];
    Transfer t;
    auto public_form = [&](MxFormat format, std::int64_t block) {
        t.format = format;
        t.block = static_cast<std::uint64_t>(block);
        t.address = base + offset;
        // PLENA: the pitch is SCALE-free bytes from STRIDE, or the elements of a row taken as
        // bytes.
        t.pitch = d.rs3 == 1 ? csr(isa::Csr::stride) : t.elements;
        t.ratio = scale_ratio(t.format, t.block);
        t.scales = base + csr(isa::Csr::scale) + (t.ratio ? offset / t.ratio : 0);
    };
    auto extended_form = [&](std::uint64_t natural) {
        t.tag = d.f1;
        t.rows = gp_[d.rs3];
        t.elements = csr(isa::Csr::dma_len) ? csr(isa::Csr::dma_len) : natural;
        t.fill = numerics::float_of_bits(csr(isa::Csr::dma_fill));
        t.address = base + offset;
    };
    const bool gathers = d.op == Op::h_gather_v || d.op == Op::h_scatter_v;
    auto memory_side = [&] {
        const numerics::MxTraits& traits = numerics::mx_traits(t.format);
        t.block = csr(isa::Csr::dma_block);
        if (traits.scaled() && t.block != 8 && t.block != 16 && t.block != 32)
            throw Trap{"no such MX block",
                       "dma_block = " + std::to_string(t.block) + ", allowed: 8, 16, 32"};
        t.pitch = csr(isa::Csr::dma_pitch) ? csr(isa::Csr::dma_pitch)
                                           : numerics::mx_element_bytes(t.format, t.elements);
        t.ratio = traits.scaled() ? scale_ratio(t.format, t.block) : 1;
        const std::uint64_t distance =
            csr(isa::Csr::scale) | std::uint64_t{csr(isa::Csr::dma_scale_hi)} << 32;
        const std::uint64_t walked = t.address - base;
        const bool several = t.rows > 1 || (gathers && t.rows == 1);
        if (traits.scaled() && (walked % t.ratio != 0 || (several && t.pitch % t.ratio != 0)))
            throw Trap{"a row does not begin at an MX block",
                       "offset " + std::to_string(walked) + ", pitch " + std::to_string(t.pitch) +
                           ", a block has " + std::to_string(t.ratio) + " element bytes"};
        t.scales = base + distance + walked / t.ratio;
    };
    auto vector_side = [&](std::uint32_t address) {
        t.space = Space::vector;
        t.extent = std::max<std::uint64_t>(1, (t.elements + lanes_ - 1) / lanes_);
        t.step = t.extent;
        if (const std::uint32_t pitch = csr(isa::Csr::dma_sram_pitch)) {
            if (pitch % lanes_ != 0 || pitch / lanes_ < t.extent)
                throw Trap{"DMA rows overlap in Vector SRAM, or do not begin at a row",
                           "dma_sram_pitch = " + std::to_string(pitch) + ", a row takes " +
                               std::to_string(t.extent * lanes_) + " elements"};
            t.step = pitch / lanes_;
        }
        if (t.rows == 0) return;
        t.first = vector_row(address, (t.rows - 1) * t.step + t.extent);
    };
    auto words_side = [&](Space space, std::uint32_t address) {
        t.space = space;
        t.extent = t.elements;
        t.step = csr(isa::Csr::dma_sram_pitch) ? csr(isa::Csr::dma_sram_pitch) : t.elements;
        if (t.step < t.extent)
            throw Trap{"DMA rows overlap in the SRAM",
                       "dma_sram_pitch = " + std::to_string(t.step) + ", a row takes " +
                           std::to_string(t.extent)};
        if (t.rows == 0) return;
        t.first = word_index(space, address, (t.rows - 1) * t.step + t.extent);
    };
    auto matrix_side = [&](std::uint32_t address, std::uint64_t unit, const char* what) {
        const auto m = static_cast<std::uint64_t>(p_.mlen);
        const std::uint64_t elements = matrix_.size() / numerics::bytes_of(p_.matrix_format);
        if (address % unit != 0)
            throw Trap{std::string("Matrix SRAM address is not the start of a ") + what,
                       "element address " + std::to_string(address) + ", allowed: multiples of " +
                           std::to_string(unit)};
        if (t.rows == 0) return;
        if (address / m + t.rows > elements / m)
            throw Trap{"access outside Matrix SRAM", "rows " + std::to_string(address / m) + ".." +
                                                         std::to_string(address / m + t.rows - 1) +
                                                         ", the SRAM has rows 0.." +
                                                         std::to_string(elements / m - 1)};
        t.space = Space::matrix;
        t.first = address / m;
    };
    switch (d.op) {
        case Op::h_prefetch_v:
        case Op::h_store_v: {
            t.to_sram = d.op == Op::h_prefetch_v;
            t.elements = lanes_;
            t.rows =
                static_cast<std::uint64_t>(t.to_sram ? p_.prefetch_v_rows : p_.writeback_v_rows);
            const std::uint64_t first = vector_row(gp_[d.rd]);
            if (t.to_sram)
                t.rows = std::min(t.rows, rows_ - first);  // PLENA drops rows past the end
            t.space = Space::vector;
            t.first = vector_row(gp_[d.rd], t.rows);
            public_form(d.f1 ? p_.kv_format : p_.act_format, d.f1 ? p_.kv_block : p_.act_block);
            break;
        }
        case Op::h_prefetch_m: {
            const auto m = static_cast<std::uint64_t>(p_.mlen);
            t.elements = m;
            t.rows = (static_cast<std::uint64_t>(p_.prefetch_m_rows) + m - 1) / m * m;
            matrix_side(gp_[d.rd], m * m, "tile");
            public_form(d.f1 ? p_.kv_format : p_.weight_format,
                        d.f1 ? p_.kv_block : p_.weight_block);
            break;
        }
        case Op::h_ld_v:
        case Op::h_st_v:
            t.to_sram = d.op == Op::h_ld_v;
            extended_form(lanes_);
            t.format = csr_format(csr(isa::Csr::dma_format));
            vector_side(gp_[d.rd]);
            memory_side();
            break;
        case Op::h_ld_m:
            extended_form(static_cast<std::uint64_t>(p_.mlen));
            if (t.elements > static_cast<std::uint64_t>(p_.mlen))
                throw Trap{"a row longer than a Matrix SRAM row",
                           std::to_string(t.elements) + ", allowed: 1.." + std::to_string(p_.mlen)};
            t.format = csr_format(csr(isa::Csr::dma_format));
            matrix_side(gp_[d.rd], static_cast<std::uint64_t>(p_.mlen) * p_.blen, "block of rows");
            memory_side();
            break;
        case Op::h_ld_int:
        case Op::h_st_int:
            t.to_sram = d.op == Op::h_ld_int;
            extended_form(1);
            t.format = MxFormat::fp32;  // 32-bit words as they are
            words_side(Space::integer, gp_[d.rd]);
            memory_side();
            break;
        case Op::h_ld_fp:
        case Op::h_st_fp:
            t.to_sram = d.op == Op::h_ld_fp;
            extended_form(1);
            switch (static_cast<isa::DmaFormat>(csr(isa::Csr::dma_format))) {
                case isa::DmaFormat::bf16:
                    t.format = MxFormat::bf16;
                    break;
                case isa::DmaFormat::fp32:
                    t.format = MxFormat::fp32;
                    break;
                default:
                    throw Trap{"no such format in FP SRAM",
                               "dma_format = " + std::to_string(csr(isa::Csr::dma_format)) +
                                   ", allowed: 8 bf16, 9 fp32"};
            }
            words_side(Space::fp, gp_[d.rd]);
            memory_side();
            break;
        case Op::h_gather_v:
        case Op::h_scatter_v: {
            t.to_sram = d.op == Op::h_gather_v;
            extended_form(lanes_);
            t.address = base;
            t.format = csr_format(csr(isa::Csr::dma_format));
            vector_side(gp_[d.rd]);
            memory_side();
            const std::uint64_t index = t.rows ? word_index(Space::integer, gp_[d.rs1], t.rows) : 0;
            if (reads(Space::integer, index, t.rows)) return wait_for(Wait::dma_range);
            t.ready = words_ready(Space::integer, index, t.rows);
            t.numbers = gather_rows(index, t.rows);
            break;
        }
        case Op::h_copy:
            return start_copy(d);
        default:
            return start_multicast(d);
    }
    return start_transfer(d, t);
}

bool Core::start_transfer(const D& d, const Transfer& t) {
    const std::uint64_t count = t.rows ? (t.rows - 1) * t.step + t.extent : 0;
    const numerics::MxTraits& traits = numerics::mx_traits(t.format);
    const std::uint64_t row_bytes = numerics::mx_element_bytes(t.format, t.elements);
    const std::uint64_t scale_bytes =
        traits.scaled() ? numerics::mx_scale_bytes(t.format, t.block, t.elements) : 0;

    const auto waits = [&](std::uint64_t first, std::uint64_t units) {
        return t.to_sram ? writes(t.space, first, units) : reads(t.space, first, units);
    };
    bool busy = dma.full();
    if (t.step == t.extent)
        busy = waits(t.first, count) || busy;
    else
        for (std::uint64_t i = 0; i < t.rows; ++i)
            busy = waits(t.first + i * t.step, t.extent) || busy;
    if (busy) return wait_for(dma.full() ? Wait::dma_queue : Wait::dma_range);

    auto descriptor = std::make_unique<Descriptor>();
    descriptor->tag = t.tag;
    descriptor->to_sram = t.to_sram;
    descriptor->ranges = {{t.space, t.first, count, t.to_sram}};
    descriptor->rows = t.rows;
    descriptor->row_bytes = row_bytes;
    descriptor->scale_bytes = scale_bytes;
    descriptor->numbers = t.numbers;
    descriptor->data = env_.functional || t.space == Space::integer;
    for (std::uint64_t i = 0; i < t.rows; ++i) {
        const std::uint64_t n = t.numbers.empty() ? i : t.numbers[i];
        add_segment(descriptor->segments, t.address + n * t.pitch, row_bytes, i * row_bytes);
    }
    for (std::uint64_t i = 0; i < t.rows && scale_bytes; ++i) {
        const std::uint64_t n = t.numbers.empty() ? i : t.numbers[i];
        add_segment(descriptor->segments, t.scales + n * t.pitch / t.ratio, scale_bytes,
                    t.rows * row_bytes + i * scale_bytes);
    }
    if (descriptor->data) {
        descriptor->staging = staging_buffer(t.rows * (row_bytes + scale_bytes));
        if (t.space == Space::integer) descriptor->taint.resize(descriptor->staging.size() / 4);
        descriptor->convert = [this, t, row_bytes, scale_bytes](Descriptor& done) {
            std::uint8_t* elements = done.staging.data();
            std::uint8_t* scales = elements + t.rows * row_bytes;
            for (std::uint64_t i = 0; i < t.rows; ++i, elements += row_bytes, scales += scale_bytes)
                convert_row(t, t.first + i * t.step, elements, scales, done, i);
        };
    }
    return launch(d, std::move(descriptor), t.ready);
}

std::vector<std::uint8_t> Core::staging_buffer(std::uint64_t bytes) {
    std::vector<std::uint8_t> buffer;
    if (!staging_.empty()) {
        buffer = std::move(staging_.back());
        staging_.pop_back();
    }
    buffer.resize(bytes);
    return buffer;
}

/// When the ranges' earlier results are there and nothing reads what is to be written.
Ready Core::range_ready(const Range& range) const {
    switch (range.space) {
        case Space::vector:
            return range.written ? rows_free(range.first, range.count)
                                 : rows_ready(range.first, range.count);
        case Space::matrix: {
            const bool streams = range.first < stream_.tile_first + stream_.tile_count &&
                                 stream_.tile_first < range.first + range.count;
            return streams && range.written ? stream_.until : 0;
        }
        case Space::fp:
        case Space::integer:
            break;
    }
    return words_ready(range.space, range.first, range.count);
}

/// Issues the instruction and hands its descriptor to the DMA engine, which has room for it.
bool Core::launch(const D& d, std::unique_ptr<Descriptor> descriptor, Ready ready) {
    for (const Range& range : descriptor->ranges) ready = std::max(ready, range_ready(range));
    const Slot slot = schedule(d, ready);
    descriptor->pc = pc_;
    descriptor->start_ps = ps(slot.issue);
    const std::uint64_t id = dma.push(std::move(descriptor));
    if (traced_) dma.report_start(id, ps(slot.issue), pc_);
    ++pc_;
    if (blocking_) {
        wait_ = Wait::dma_blocking;
        wait_descriptor_ = id;
    }
    return true;
}

std::optional<Range> Core::own_range(std::uint64_t address, std::uint64_t bytes,
                                     bool written) const {
    const std::uint64_t window = env_.cores[env_.core_index].window;
    if (bytes == 0 || address < window || address - window >= env_.window_bytes) return {};
    const std::uint64_t slot_bytes = env_.window_bytes / window_slots;
    const std::uint64_t at = (address - window) % slot_bytes;
    std::uint64_t unit = 4;
    std::uint64_t units = int_sram_.size();
    Space space = Space::integer;
    switch ((address - window) / slot_bytes) {
        case 1:
            space = Space::vector;
            unit = row_bytes_;
            units = rows_;
            break;
        case 2:
            space = Space::matrix;
            unit = mlen_ * numerics::bytes_of(p_.matrix_format);
            units = matrix_.size() / unit;
            break;
        case 3:
            space = Space::fp;
            unit = numerics::bytes_of(p_.fp_format);
            units = fp_sram_.size();
            break;
        case 4:
            break;
        default:
            return {};
    }
    if (at + bytes > unit * units) return {};  // the window itself will refuse it
    const std::uint64_t first = at / unit;
    return Range{space, first, (at + bytes - 1) / unit - first + 1, written};
}

/// SRAMs of floating-point data, which timing mode does not hold.
bool Core::is_float_storage(std::uint64_t address) const {
    for (const Environment::Peer& core : env_.cores) {
        if (address < core.window || address - core.window >= env_.window_bytes) continue;
        const std::uint64_t slot = (address - core.window) / (env_.window_bytes / window_slots);
        return slot >= 1 && slot <= 3;
    }
    return false;
}

/// H_COPY: everything is read into the staging buffer, then written.
bool Core::start_copy(const D& d) {
    const std::uint64_t from = ha_[d.rs2] + gp_[d.rs3];
    const std::uint64_t to = ha_[d.rd] + gp_[d.rs1];
    const std::uint64_t bytes = csr(isa::Csr::dma_len);
    const std::uint64_t rows = std::max(1u, csr(isa::Csr::dma_rows));
    const std::uint64_t pitch = csr(isa::Csr::dma_pitch) ? csr(isa::Csr::dma_pitch) : bytes;
    if (bytes == 0) throw Trap{"copy of rows without a length", "dma_len = 0, allowed: 1 and more"};
    if (pitch < bytes)
        throw Trap{"copied rows overlap", "dma_pitch = " + std::to_string(pitch) + ", a row has " +
                                              std::to_string(bytes) + " bytes"};
    if (rows * bytes > most_copied)
        throw Trap{"copy of too many bytes",
                   std::to_string(rows) + " rows of " + std::to_string(bytes) +
                       " bytes, allowed: " + std::to_string(most_copied) + " in all"};
    if (rows > most_copied_rows)
        throw Trap{"copy of too many rows", "dma_rows = " + std::to_string(rows) +
                                                ", allowed: " + std::to_string(most_copied_rows)};
    const std::uint64_t span = (rows - 1) * pitch + bytes;
    auto descriptor = std::make_unique<Descriptor>();
    for (const auto& range : {own_range(from, span, false), own_range(to, span, true)})
        if (range) descriptor->ranges.push_back(*range);
    bool busy = dma.full();
    for (const Range& range : descriptor->ranges)
        busy = (range.written ? writes(range.space, range.first, range.count)
                              : reads(range.space, range.first, range.count)) ||
               busy;
    if (busy) return wait_for(dma.full() ? Wait::dma_queue : Wait::dma_range);
    descriptor->tag = d.f1;
    descriptor->rows = rows;
    descriptor->row_bytes = bytes;
    for (std::uint64_t i = 0; i < rows; ++i) {
        add_segment(descriptor->segments, from + i * pitch, bytes, i * bytes);
        add_segment(descriptor->writes, to + i * pitch, bytes, i * bytes);
    }
    descriptor->data = env_.functional || !(is_float_storage(from) || is_float_storage(to));
    if (descriptor->data) {
        descriptor->staging = staging_buffer(rows * bytes);
        if ((from | to | bytes | pitch) % 4 == 0) descriptor->taint.resize(rows * bytes / 4);
    }
    return launch(d, std::move(descriptor));
}

/// H_MCAST: rows as they are stored, to every core of a mask.
bool Core::start_multicast(const D& d) {
    const std::uint64_t rows = gp_[d.rs3];
    const std::uint32_t mask = gp_[d.rs2];
    const std::uint64_t first = rows ? vector_row(gp_[d.rd], rows) : 0;
    const std::uint64_t to = rows ? vector_row(gp_[d.rs1]) : 0;
    auto descriptor = std::make_unique<Descriptor>();
    descriptor->tag = d.f1;
    descriptor->to_sram = false;
    descriptor->data = env_.functional;
    descriptor->rows = rows;
    descriptor->row_bytes = row_bytes_;
    descriptor->ranges = {{Space::vector, first, rows, false}};
    bool busy = dma.full();
    busy = reads(Space::vector, first, rows) || busy;
    for (std::uint32_t left = mask; left && rows; left &= left - 1) {
        const auto core = static_cast<std::size_t>(__builtin_ctz(left));
        if (core >= env_.cores.size())
            throw Trap{"multicast to a core that does not exist",
                       "core " + std::to_string(core) + ", the platform has cores 0.." +
                           std::to_string(env_.cores.size() - 1)};
        const Environment::Peer& peer = env_.cores[core];
        if (peer.vlen != lanes_ || peer.vector_format != p_.vector_format)
            throw Trap{"multicast to a core whose rows are others",
                       "core " + std::to_string(core) + ": vlen " + std::to_string(peer.vlen) +
                           ", here " + std::to_string(lanes_)};
        if ((to + rows) * row_bytes_ > peer.vector_bytes)
            throw Trap{"access outside Vector SRAM",
                       "rows " + std::to_string(to) + ".." + std::to_string(to + rows - 1) +
                           ", the SRAM of core " + std::to_string(core) + " has rows 0.." +
                           std::to_string(peer.vector_bytes / row_bytes_ - 1)};
        if (core == env_.core_index) {
            descriptor->ranges.push_back({Space::vector, to, rows, true});
            busy = writes(Space::vector, to, rows) || busy;
        }
        const std::uint64_t place =
            peer.window + env_.window_bytes / window_slots + to * row_bytes_;
        if (descriptor->segments.empty())
            descriptor->segments.push_back(
                {place, static_cast<std::uint32_t>(rows * row_bytes_), 0});
        else
            descriptor->copies.push_back(place - descriptor->segments.front().address);
    }
    if (busy) return wait_for(dma.full() ? Wait::dma_queue : Wait::dma_range);
    if (descriptor->data) {
        descriptor->staging = staging_buffer(rows * row_bytes_);
        descriptor->convert = [this, first, rows](Descriptor& begun) {
            if (rows) std::memcpy(begun.staging.data(), row(first), rows * row_bytes_);
        };
    }
    return launch(d, std::move(descriptor));
}

/// One row between the staging buffer and the SRAM.
void Core::convert_row(const Transfer& t, std::uint64_t at, std::uint8_t* elements,
                       std::uint8_t* scales, Descriptor& descriptor, std::uint64_t number) {
    switch (t.space) {
        case Space::vector: {
            if (!t.to_sram) {
                numerics::mx_encode_row(t.format, t.block, p_.vector_format, row(at), t.elements,
                                        elements, scales);
                return;
            }
            numerics::mx_decode_row(t.format, t.block, elements, scales, t.elements,
                                    p_.vector_format, row(at));
            const std::uint64_t rest = t.extent * lanes_ - t.elements;
            if (rest) {
                const std::uint64_t lane = numerics::bytes_of(p_.vector_format);
                kernels_.fill(static_cast<std::uint8_t*>(row(at)) + t.elements * lane, t.fill,
                              rest);
            }
            return;
        }
        case Space::matrix: {
            const auto m = static_cast<std::uint64_t>(p_.mlen);
            const std::uint64_t size = numerics::bytes_of(p_.matrix_format);
            std::uint8_t* out = matrix_.data() + at * m * size;
            numerics::mx_decode_row(t.format, t.block, elements, scales, t.elements,
                                    p_.matrix_format, out);
            if (t.elements < m)
                numerics::row_kernels(p_.matrix_format)
                    .fill(out + t.elements * size, t.fill, m - t.elements);
            return;
        }
        case Space::integer:
            for (std::uint64_t i = 0; i < t.elements; ++i) {
                const std::uint64_t word = number * t.elements + i;
                if (t.to_sram) {
                    std::memcpy(&int_sram_[at + i], elements + 4 * i, 4);
                    set_int_taint(at + i, descriptor.taint[word]);
                } else {
                    std::memcpy(elements + 4 * i, &int_sram_[at + i], 4);
                    descriptor.taint[word] = int_tainted(at + i);
                }
            }
            return;
        case Space::fp:
            if (t.to_sram) {
                numerics::mx_decode_row(t.format, t.block, elements, nullptr, t.elements,
                                        numerics::Format::fp32, &fp_sram_[at]);
                for (std::uint64_t i = 0; i < t.elements; ++i)
                    fp_sram_[at + i] = round_fp(fp_sram_[at + i]);
            } else {
                numerics::mx_encode_row(t.format, t.block, numerics::Format::fp32, &fp_sram_[at],
                                        t.elements, elements, nullptr);
            }
            return;
    }
}

}  // namespace npuvp::core
