"""Vector instructions, and those that map and select between the three domains."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npuvp.golden import elementary, rows
from npuvp.golden.faults import Fault
from npuvp.golden.formats import Row, from_float, round_to, to_float
from npuvp.golden.philox import gumbel, gumbel_row, philox, uniform
from npuvp.golden.rows import LaneMask
from npuvp.golden.scalar import CONDITIONS
from npuvp.golden.state import Core, Decoded
from npuvp.golden.topk import topk_mask, topk_softmax

__all__ = ["VECTOR"]

Vector = Callable[[Core, Decoded], None]
_RELATIONS = ("eq", "", "lt", "le", "gt", "ge")
_POLICIES = {0: (32, 4), 1: (128, 8)}
"""n and k of V_TOPK by policy."""


def _vv(kernel: Callable[[Row, Row, LaneMask | None], Row]) -> Vector:
    def run(core: Core, d: Decoded) -> None:
        to = core.vector_row(core.gp[d.rd])
        x, y = core.vector_row(core.gp[d.rs1]), core.vector_row(core.gp[d.rs2])
        core.vector[to] = kernel(core.vector[x], core.vector[y], core.mask(d))

    return run


def _vf(kernel: Callable[[Row, Any, LaneMask | None], Row]) -> Vector:
    def run(core: Core, d: Decoded) -> None:
        to = core.vector_row(core.gp[d.rd])
        x = core.vector_row(core.gp[d.rs1])
        core.vector[to] = kernel(core.vector[x], core.fp[d.rs2], core.mask(d))

    return run


def _v(kernel: Callable[[Row, LaneMask | None], Row]) -> Vector:
    def run(core: Core, d: Decoded) -> None:
        to = core.vector_row(core.gp[d.rd])
        x = core.vector_row(core.gp[d.rs1])
        core.vector[to] = kernel(core.vector[x], core.mask(d))

    return run


def _sub_vf(core: Core, d: Decoded) -> None:
    _vf(rows.rsub_vf if d.f1 else rows.sub_vf)(core, d)


def _power_of_two(core: Core, d: Decoded) -> None:
    to = core.vector_row(core.gp[d.rd])
    core.vector[to] = rows.floor_power_of_two(core.vector[core.vector_row(core.gp[d.rs1])])


def _shift(core: Core, d: Decoded) -> None:
    to = core.vector_row(core.gp[d.rd])
    x = core.vector_row(core.gp[d.rs1])
    core.vector[to] = rows.shift(core.vector[x], core.gp[d.rs2])


def _silu(row: Row, mask: LaneMask | None) -> Row:
    e = rows.exp(rows.mul_vf(row, np.float32(-1)))
    return rows.mul_vv(row, rows.reciprocal(rows.add_vf(e, np.float32(1))))


def _swap(core: Core, d: Decoded) -> None:
    to, x = core.vector_row(core.gp[d.rd]), core.vector_row(core.gp[d.rs1])
    count, length = core.gp[d.rs2], core.gp[d.rs3]
    if length == 0 or core.vlen % length or 2 * count > length:
        raise Fault(
            "lanes of a head cannot change places",
            f"{count} and {count} of {length} lanes, VLEN = {core.vlen}",
        )
    row = core.vector[x].copy()
    heads = row.reshape(-1, length)
    halves = heads[:, :count].copy()
    heads[:, :count] = heads[:, count : 2 * count]
    heads[:, count : 2 * count] = halves
    core.vector[to] = row


def _compare(core: Core, a: Row, b: Any, condition: int) -> Row:
    if _RELATIONS[condition]:
        return rows.compare_vf(_RELATIONS[condition], a, b)
    equal = to_float(rows.compare_vf("eq", a, b))
    return from_float(np.float32(1) - equal, a)


def _compare_vv(core: Core, d: Decoded) -> None:
    to = core.vector_row(core.gp[d.rd])
    x, y = core.vector_row(core.gp[d.rs1]), core.vector_row(core.gp[d.rs2])
    core.vector[to] = _compare(core, core.vector[x], to_float(core.vector[y]), d.rs3)


def _compare_vf(core: Core, d: Decoded) -> None:
    to = core.vector_row(core.gp[d.rd])
    x = core.vector_row(core.gp[d.rs1])
    core.vector[to] = _compare(core, core.vector[x], core.fp[d.rs2], d.rs3)


def _select(core: Core, d: Decoded) -> None:
    to = core.vector_row(core.gp[d.rd])
    x, y, m = (core.vector_row(core.gp[r]) for r in (d.rs1, d.rs2, d.rs3))
    core.vector[to] = rows.select(core.vector[m], core.vector[x], core.vector[y])


# Reductions


def _red_sum(core: Core, d: Decoded) -> None:
    row = core.vector[core.vector_row(core.gp[d.rs1])]
    mask = core.mask(d)
    if mask is None:
        core.write_fp(d.rd, rows.sum(row, core.fp[d.rd]))
    else:  # every enabled head counts HLEN times (PLENA)
        part = elementary.mul(rows.sum(row, 0.0, mask), np.float32(core.head_length))
        core.write_fp(d.rd, elementary.add(core.fp[d.rd], part))


def _red_max(core: Core, d: Decoded) -> None:
    row = core.vector[core.vector_row(core.gp[d.rs1])]
    core.write_fp(d.rd, rows.max(row, core.fp[d.rd]))


def _red_sum_m(core: Core, d: Decoded) -> None:
    row = core.vector[core.vector_row(core.gp[d.rs1])]
    core.write_fp(d.rd, rows.sum(row, core.fp[d.rd], core.mask(d)))


def _red_max_m(core: Core, d: Decoded) -> None:
    row = core.vector[core.vector_row(core.gp[d.rs1])]
    core.write_fp(d.rd, rows.max(row, core.fp[d.rd], core.mask(d)))


def _red_max_idx(core: Core, d: Decoded) -> None:
    row = core.vector[core.vector_row(core.gp[d.rs1])]
    if d.rd == 0:  # gp0 as the index makes it a no-op (d-PLENA)
        return
    found, value, lane = rows.max_index(row, core.fp[d.rs3])
    if found:
        core.write_gp(d.rd, core.gp[d.rs2] + int(lane))
        core.write_fp(d.rs3, value)


def _count(core: Core, d: Decoded) -> None:
    n = core.length(d.rs2)
    first = core.vector_row(core.gp[d.rs1], core.rows_for(n))
    lanes = to_float(core.vector[first : first + core.rows_for(n)]).reshape(-1)[:n]
    core.write_gp(d.rd, int(np.count_nonzero(lanes != 0)))


def _get(core: Core, d: Decoded) -> None:
    row = core.vector_row(core.gp[d.rs1])
    lane = core.gp[d.rs2]
    if lane >= core.vlen:
        raise Fault("lane outside the row", f"{lane}, allowed: 0..{core.vlen - 1}")
    core.write_fp(d.rd, to_float(core.vector[row])[lane])


def _column_maximum(core: Core, d: Decoded) -> None:
    count, pitch = core.gp[d.rs2], core.gp[d.rs3] or core.vlen
    to = core.vector_row(core.gp[d.rd])
    if count == 0:
        raise Fault("column maximum of no rows", "gpRows is 0")
    core.vector_row(pitch)
    first = core.vector_row(core.gp[d.rs1])
    step = pitch // core.vlen
    core.vector_row(core.gp[d.rs1], (count - 1) * step + 1)
    result = rows.abs(core.vector[first])
    for i in range(1, count):
        result = rows.max_vv(result, rows.abs(core.vector[first + i * step]))
    core.vector[to] = result


def _random(core: Core, d: Decoded) -> None:
    to = core.vector_row(core.gp[d.rd])
    counters = np.empty((-(-core.vlen // 4), 4), np.uint32)
    counters[:, 0] = np.arange(len(counters), dtype=np.uint32) + np.uint32(
        core.csr_value("rng_counter0")
    )
    counters[:, 1] = core.csr_value("rng_counter1")
    counters[:, 2] = core.gp[d.rs1]
    counters[:, 3] = core.csr_value("rng_counter3")
    key = [core.csr_value("rng_key0"), core.csr_value("rng_key1")]
    words = philox(counters, key).reshape(-1)[: core.vlen]
    core.vector[to] = from_float(gumbel(words) if d.rs2 else uniform(words), core.vector)


def _red_max_rand(core: Core, d: Decoded) -> None:
    row = core.vector[core.vector_row(core.gp[d.rs1])]
    skipped, first = core.gp[d.rs2] % 4, core.gp[d.rs2] // 4
    noise = gumbel_row(
        skipped + core.vlen,
        core.csr_value("rng_counter1") << 32 | first,
        core.csr_value("rng_counter3") << 32 | core.csr_value("rng_counter2"),
        core.csr_value("rng_key1") << 32 | core.csr_value("rng_key0"),
    )[skipped:]
    x = to_float(row)
    noisy = elementary.add(x, elementary.mul(core.csr_float("rng_scale"), noise))
    found, value, lane = rows.max_index(noisy, core.fp[d.rs3])
    if found:
        core.write_gp(d.rd, core.gp[d.rs2] + int(lane))
        core.write_fp(d.rs3, value)
        core.write_fp(d.f1, x[lane])


# Top-k


def _topk_mask(core: Core, d: Decoded) -> None:
    n = core.row_length(core.length(d.f1))
    to = core.vector_row(core.gp[d.rd])
    confidence = core.vector[core.vector_row(core.gp[d.rs1])]
    candidates = core.vector[core.vector_row(core.gp[d.rs2])]
    core.vector[to] = topk_mask(confidence, candidates, n, core.gp[d.rs3])


def _topk_fp(core: Core, d: Decoded) -> None:
    n = core.length(d.f1)
    count = core.rows_for(n)
    to = core.vector_row(core.gp[d.rd], count)
    confidence = core.fp_sram[core.words("fp", core.gp[d.rs1], n)]
    at = core.vector_row(core.gp[d.rs2], count)
    candidates = core.vector[at : at + count].reshape(-1)
    marked = topk_mask(confidence, candidates, n, core.gp[d.rs3])
    core.vector[to : to + count] = marked.reshape(count, core.vlen)


def _router(core: Core, d: Decoded, n: int, k: int, over_all: bool) -> None:
    weights = core.words("fp", core.gp[d.rd], k)
    count = core.rows_for(n)
    at = core.vector_row(core.gp[d.rs1], count)
    indices = core.words("int", core.gp[d.rs2], k)
    logits = core.vector[at : at + count].reshape(-1)[:n]
    chosen, softmax = topk_softmax(logits, k, over_all)
    core.int_sram[indices] = chosen
    core.fp_sram[weights] = round_to(core.fp_format, softmax)


def _topk(core: Core, d: Decoded) -> None:
    n, k = _POLICIES[d.rs3]
    _router(core, d, n, k, False)


def _topk_n(core: Core, d: Decoded) -> None:
    n, k = core.length(d.rs3), core.length(d.f1)
    if k > n:
        raise Fault("top-k of fewer elements", f"k = {k}, n = {n}")
    _router(core, d, n, k, core.csr_value("topk_mode") == 1)


# Between the domains


def _select_int(core: Core, d: Decoded) -> None:
    n = core.row_length(core.length(d.f1))
    to, x, y = (core.words("int", core.gp[r], n) for r in (d.rd, d.rs1, d.rs2))
    mask = to_float(core.vector[core.vector_row(core.gp[d.rs3])])
    # In order of index: the result may overlap a source (d-PLENA).
    for i in range(n):
        source = x if mask[i] != 0 else y
        core.int_sram[to.start + i] = core.int_sram[source.start + i]


def _mask_rows(core: Core, first: int, n: int, holds: NDArray[np.bool_]) -> None:
    lanes = np.zeros(core.rows_for(n) * core.vlen, np.float32)
    lanes[:n] = holds
    like = core.vector[first : first + core.rows_for(n)]
    core.vector[first : first + core.rows_for(n)] = from_float(lanes.reshape(like.shape), like)


def _compare_int(core: Core, d: Decoded) -> None:
    n = core.length(d.rs3)
    to = core.vector_row(core.gp[d.rd], core.rows_for(n))
    x = core.int_sram[core.words("int", core.gp[d.rs1], n)]
    _mask_rows(core, to, n, CONDITIONS[d.f1](x, np.uint32(core.gp[d.rs2])))


def _compare_fp(core: Core, d: Decoded) -> None:
    n = core.length(d.rs3)
    to = core.vector_row(core.gp[d.rd], core.rows_for(n))
    x = core.fp_sram[core.words("fp", core.gp[d.rs1], n)]
    with np.errstate(invalid="ignore"):
        _mask_rows(core, to, n, CONDITIONS[d.f1](x, core.fp[d.rs2]))


def _map_from_fp(core: Core, d: Decoded, n: int) -> None:
    to = core.vector_row(core.gp[d.rd])
    lanes = np.zeros(core.vlen, np.float32)
    lanes[:n] = core.fp_sram[core.words("fp", core.gp[d.rs1] + d.imm, n)]
    core.vector[to] = from_float(lanes, core.vector)


def _map_v_fp(core: Core, d: Decoded) -> None:
    _map_from_fp(core, d, core.vlen)


def _map_v_fp_len(core: Core, d: Decoded) -> None:
    _map_from_fp(core, d, core.row_length(core.length(d.rs2)))


def _map_fp_v(core: Core, d: Decoded) -> None:
    n = core.row_length(core.length(d.rs2))
    to = core.words("fp", core.gp[d.rd], n)
    row = core.vector[core.vector_row(core.gp[d.rs1])]
    core.fp_sram[to] = round_to(core.fp_format, to_float(row)[:n])


VECTOR: dict[str, Vector] = {
    "V_ADD_VV": _vv(rows.add_vv),
    "V_SUB_VV": _vv(rows.sub_vv),
    "V_MUL_VV": _vv(rows.mul_vv),
    "V_MAX_VV": _vv(rows.max_vv),
    "V_MIN_VV": _vv(rows.min_vv),
    "V_ADD_VF": _vf(rows.add_vf),
    "V_SUB_VF": _sub_vf,
    "V_MUL_VF": _vf(rows.mul_vf),
    "V_MAX_VF": _vf(rows.max_vf),
    "V_MIN_VF": _vf(rows.min_vf),
    "V_EXP_V": _v(rows.exp),
    "V_RECI_V": _v(rows.reciprocal),
    "V_LOG_V": _v(rows.log),
    "V_ABS_V": _v(rows.abs),
    "V_SILU_V": _v(_silu),
    "V_POW2_V": _power_of_two,
    "V_SHFT_V": _shift,
    "V_SWAP_V": _swap,
    "V_CMP_VV": _compare_vv,
    "V_CMP_VF": _compare_vf,
    "V_SELECT_VVM": _select,
    "V_RED_SUM": _red_sum,
    "V_RED_MAX": _red_max,
    "V_RED_SUM_M": _red_sum_m,
    "V_RED_MAX_M": _red_max_m,
    "V_RED_MAX_IDX": _red_max_idx,
    "V_COUNT": _count,
    "V_GET": _get,
    "V_COLMAX": _column_maximum,
    "V_RAND": _random,
    "V_RED_MAX_RAND": _red_max_rand,
    "V_TOPK_MASK": _topk_mask,
    "V_TOPK_FP": _topk_fp,
    "V_TOPK": _topk,
    "V_TOPK_N": _topk_n,
    "V_SELECT_INT": _select_int,
    "V_CMP_INT": _compare_int,
    "V_CMP_FP": _compare_fp,
    "S_MAP_V_FP": _map_v_fp,
    "S_MAP_V_FP_LEN": _map_v_fp_len,
    "S_MAP_FP_V": _map_fp_v,
}
