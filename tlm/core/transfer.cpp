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
};

namespace {

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
        if (traits.scaled() && (walked % t.ratio != 0 || (t.rows > 1 && t.pitch % t.ratio != 0)))
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
    auto matrix_side = [&](std::uint32_t address) {
        const auto m = static_cast<std::uint64_t>(p_.mlen);
        const std::uint64_t tile = m * m;
        const std::uint64_t elements = matrix_.size() / numerics::bytes_of(p_.matrix_format);
        if (address % tile != 0)
            throw Trap{"Matrix SRAM address is not the start of a tile",
                       "element address " + std::to_string(address) + ", tiles are multiples of " +
                           std::to_string(tile)};
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
            matrix_side(gp_[d.rd]);
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
            matrix_side(gp_[d.rd]);
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
            t.format = csr(isa::Csr::dma_format) == static_cast<std::uint32_t>(isa::DmaFormat::bf16)
                           ? MxFormat::bf16
                           : MxFormat::fp32;
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
            const std::uint64_t index = word_index(Space::integer, gp_[d.rs1], t.rows);
            if (!dma.idle() && dma.conflicts(Space::integer, index, t.rows, false))
                return wait_for(Wait::dma_range);
            t.numbers = gather_rows(index, t.rows);
            break;
        }
        default:
            throw Trap{std::string(isa::info(d.op).mnemonic) + " is not supported by this machine",
                       ""};
    }
    return start_transfer(d, t);
}

bool Core::start_transfer(const D& d, const Transfer& t) {
    const std::uint64_t count = t.rows ? (t.rows - 1) * t.step + t.extent : 0;
    if (!dma.idle() && dma.conflicts(t.space, t.first, count, t.to_sram))
        return wait_for(Wait::dma_range);
    if (dma.full()) return wait_for(Wait::dma_queue);
    const numerics::MxTraits& traits = numerics::mx_traits(t.format);
    const std::uint64_t row_bytes = numerics::mx_element_bytes(t.format, t.elements);
    const std::uint64_t scale_bytes =
        traits.scaled() ? numerics::mx_scale_bytes(t.format, t.block, t.elements) : 0;

    auto descriptor = std::make_unique<Descriptor>();
    descriptor->pc = pc_;
    descriptor->tag = t.tag;
    descriptor->to_sram = t.to_sram;
    descriptor->space = t.space;
    descriptor->first = t.first;
    descriptor->count = count;
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
    Ready ready = 0;
    if (t.space == Space::vector) ready = rows_ready(t.first, count);
    if (t.space == Space::integer) ready = int_sram_ready_;
    if (t.space == Space::fp) ready = fp_sram_ready_;
    const Slot slot = schedule(d, ready);
    descriptor->start_ps = ps(slot.issue);
    if (descriptor->data) {
        if (!staging_.empty()) {
            descriptor->staging = std::move(staging_.back());
            staging_.pop_back();
        }
        descriptor->staging.resize(t.rows * (row_bytes + scale_bytes));
        if (t.space == Space::integer) descriptor->taint.resize(descriptor->staging.size() / 4);
        descriptor->convert = [this, t, row_bytes, scale_bytes](Descriptor& done) {
            std::uint8_t* elements = done.staging.data();
            std::uint8_t* scales = elements + t.rows * row_bytes;
            for (std::uint64_t i = 0; i < t.rows; ++i, elements += row_bytes, scales += scale_bytes)
                convert_row(t, t.first + i * t.step, elements, scales, done, i);
        };
    }
    const std::uint64_t id = dma.push(std::move(descriptor));
    ++pc_;
    if (blocking_) {
        wait_ = Wait::dma_blocking;
        wait_descriptor_ = id;
    }
    return true;
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
