#include "numerics/rows.h"

#include "numerics/scalar.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "numerics/rows.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "numerics/rows_map-inl.h"
#include "numerics/rows_reduce-inl.h"

HWY_BEFORE_NAMESPACE();
namespace npuvp::numerics {
namespace HWY_NAMESPACE {

template <class S>
const RowKernels& make_table() {
    static const RowKernels table = [] {
        RowKernels t{};
        t.add_vv = masked_vv<S, map_vv<S, Add>>;
        t.sub_vv = masked_vv<S, map_vv<S, Sub>>;
        t.mul_vv = masked_vv<S, map_vv<S, Mul>>;
        t.add_vf = masked_vf<S, map_vf<S, Add>>;
        t.sub_vf = masked_vf<S, map_vf<S, Sub>>;
        t.mul_vf = masked_vf<S, map_vf<S, Mul>>;
        t.rsub_vf = masked_vf<S, map_vf<S, ReverseSub>>;
        t.max_vv = masked_vv<S, bits_vv<S, Max>>;
        t.min_vv = masked_vv<S, bits_vv<S, Min>>;
        t.max_vf = masked_vf<S, bits_vf<S, Max>>;
        t.min_vf = masked_vf<S, bits_vf<S, Min>>;
        t.compare_vv[0] = masked_vv<S, map_vv<S, Compare<Relation::lt>>>;
        t.compare_vv[1] = masked_vv<S, map_vv<S, Compare<Relation::le>>>;
        t.compare_vv[2] = masked_vv<S, map_vv<S, Compare<Relation::eq>>>;
        t.compare_vv[3] = masked_vv<S, map_vv<S, Compare<Relation::ge>>>;
        t.compare_vv[4] = masked_vv<S, map_vv<S, Compare<Relation::gt>>>;
        t.compare_vf[0] = masked_vf<S, map_vf<S, Compare<Relation::lt>>>;
        t.compare_vf[1] = masked_vf<S, map_vf<S, Compare<Relation::le>>>;
        t.compare_vf[2] = masked_vf<S, map_vf<S, Compare<Relation::eq>>>;
        t.compare_vf[3] = masked_vf<S, map_vf<S, Compare<Relation::ge>>>;
        t.compare_vf[4] = masked_vf<S, map_vf<S, Compare<Relation::gt>>>;
        t.exp = masked_exp<S>;
        t.reciprocal = masked_v<S, map_v<S, Reciprocal>>;
        t.log = masked_v<S, map_v<S, Log>>;
        t.sqrt = masked_v<S, map_v<S, Sqrt>>;
        t.abs = masked_v<S, abs_v<S>>;
        t.floor_power_of_two = masked_v<S, map_v<S, FloorPowerOfTwo>>;
        t.select = select_v<S>;
        t.shift = shift_v<S>;
        t.fill = fill_v<S>;
        t.sum = sum<S>;
        t.max = max<S>;
        t.min = min<S>;
        t.max_index = max_index<S>;
        t.to_float = to_float_v<S>;
        t.from_float = from_float_v<S>;
        return t;
    }();
    return table;
}

const RowKernels& row_table(Format format) {
    return format == Format::bf16 ? make_table<Bf16Storage>() : make_table<Fp32Storage>();
}

}  // namespace HWY_NAMESPACE
}  // namespace npuvp::numerics
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace npuvp::numerics {

HWY_EXPORT(row_table);

const RowKernels& row_kernels(Format format) {
    return HWY_DYNAMIC_DISPATCH(row_table)(format);
}

}  // namespace npuvp::numerics
#endif
