"""Closed forms of which positions are committed: quotas, thresholds, factors, and Dream's rules
(`npuvp.compiler.selection`, `npuvp.compiler.dream`)."""

from typing import TYPE_CHECKING

from npuvp.analytical.schedule import Work, body, repeat
from npuvp.call_kinds import known_of_block
from npuvp.generation.calls import Kind

if TYPE_CHECKING:
    from npuvp.analytical.head import ForwardCall

__all__ = ["begun_block", "chosen", "left", "prepared"]

#: A number of a table of float32, without its round trip.
_NUMBER = repeat("int", 6) + repeat(" int ctl", 3) + " dma sync fm"


def _rows_of(call: "ForwardCall", text: str, pointers: int) -> Work:
    """Statements for every row of Vector SRAM that the sampled positions take."""
    rows = -(-call.call.span // call.hardware.vlen)
    again = f"{text} int br int int br {repeat('int', pointers)} br"
    return body(call.hardware, again, rows)


def _count(call: "ForwardCall", positions: float) -> Work:
    return call._elements("vector_count", -(-int(positions) // call.hardware.vlen))


def _above(call: "ForwardCall") -> Work:
    """Those above the threshold, and the best one whatever it has."""
    work = call._elements("vector_compare", call.call.span)
    work.add(_rows_of(call, "vmul3. vmax3.", 3))
    return work


def _number(call: "ForwardCall") -> Work:
    work = call._load(1, 4)
    work.add(body(call.hardware, _NUMBER))
    return work


def begun_block(call: "ForwardCall", kind: Kind) -> Work:
    """Fast-dLLM v2: what the call computes, from the tokens of the block."""
    h = call.hardware
    work = body(h, repeat("int im", 10) + " br")
    if kind == "prefill":
        return work
    size = call.plan.block_length
    work.add(call._tokens(size))
    known = known_of_block(call.plan, kind)
    # The end token among what is known, the first mask, its sub-block.
    work.add(body(h, "br im br br int br", known))
    work.add(body(h, "br im br int br", known))
    work.add(body(h, "int br int br", known // call.plan.sub_block))
    work.add(body(h, repeat("int", 24) + repeat(" im", 14) + repeat(" br", 4)))
    return work


def prepared(call: "ForwardCall") -> Work:
    """What the choice in all rows of the batch needs."""
    plan, h, sizes = call.plan, call.hardware, call.call
    work = Work()
    if plan.threshold is not None or plan.revision != "dream":
        return work
    work.add(_number(call))
    if plan.dream_algorithm == "origin":
        return work
    masked = call._tokens(sizes.span)
    masked.add(call._elements("vector_compare", sizes.span))
    masked.add(_count(call, sizes.span))
    masked.add(body(h, repeat("int", 16) + " ctl ctl dma sync br"))
    work.add(masked, sizes.samples)
    work.add(_number(call))
    work.add(body(h, "int fp fp. br int br", sizes.committed + 1))
    return work


def chosen(call: "ForwardCall") -> Work:
    """The choice of positions in a row of the batch, the masked ones known."""
    plan, h, sizes = call.plan, call.hardware, call.call
    best = call._elements("vector_topk", sizes.span)
    dream = plan.revision == "dream"
    if dream and plan.cache == "none":
        if plan.dream_algorithm == "origin":
            work = call._elements("vector_compare", sizes.span)
            work.add(_rows_of(call, "vmul3.", 2))
            return work
        if plan.threshold is not None:
            best.add(call._elements("vector_topk", sizes.span))
            best.add(_count(call, sizes.span), 2)
            best.add(_above(call))
            best.add(body(h, repeat("int", 8) + " im im br"))
        return best
    blocks = plan.revision == "fast-dllm-v2"
    if blocks or (plan.threshold is not None and (not dream or not sizes.warm)):
        best.add(_above(call))
    if plan.factor is not None:
        best.add(_count(call, sizes.span))
        best.add(body(h, repeat("int", 8) + " fp fp"))
        rank = body(h, "int br int fp freci. fp. fp. int int br int br")
        rank.add(call._elements("vector_compare", sizes.span))
        rank.add(body(h, "vmul3. int int", -(-sizes.span // h.vlen)))
        rank.add(_count(call, sizes.span))
        best.add(rank, max(0, min(sizes.committed, sizes.block - 2)))
    return best


def left(call: "ForwardCall") -> Work:
    """How many masks are left."""
    plan, sizes = call.plan, call.call
    if plan.revision == "fast-dllm-v2":
        return Work()
    if plan.revision == "dream" and plan.cache == "none" and plan.threshold is not None:
        return Work()
    work = call._elements("vector_compare", sizes.block)
    work.add(_count(call, sizes.block))
    if plan.revision == "dream":
        # The block as the canvas has it.
        work.add(call._tokens(sizes.block))
        work.add(body(call.hardware, "sync im " + repeat("int", 12)))
    return work
