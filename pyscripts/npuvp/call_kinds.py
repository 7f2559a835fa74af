"""The forward calls of a generation, by what their time depends on."""

from dataclasses import dataclass, field
from typing import Literal

from npuvp.compiler.errors import CompileError
from npuvp.generation.calls import Kind
from npuvp.plan import GenerationPlan

__all__ = ["CallKind", "CallsPerBlock", "call_kinds", "most_calls"]

#: Forward calls of a block where the data decide: how many, or the most that there can be.
CallsPerBlock = int | Literal["worst"]


@dataclass(frozen=True)
class CallKind:
    """What a forward call's time depends on.

    Attributes:
        kind: As in `CallRecord`.
        count: Positions that it computes.
        pieces: Pieces of the canvas that are searched for earlier masks; none but by the first call
            of a block.
        block: Of the first such call; later ones stand for it where only addresses differ.
        step: Within the block, likewise.
        start: First position of the block, likewise.
    """

    kind: Kind
    count: int
    pieces: int
    block: int = field(compare=False)
    step: int = field(compare=False)
    start: int = field(compare=False)


def most_calls(plan: GenerationPlan) -> int:
    """Most forward calls of a block: each commits a token at least, and the steps may end it.

    LLaDA makes all its steps whatever is left; the others stop where no mask is.
    """
    steps = plan.steps_per_block
    if plan.revision == "llada":
        return steps
    by_quota = plan.threshold is None and plan.factor is None
    # Under a threshold or factor the steps limit the dual cache of 2026 alone (facts 3.4).
    limited = by_quota or (plan.cache == "dual" and plan.revision == "fast-dllm-2026")
    return min(steps, plan.block_length) if limited else plan.block_length


def _calls(plan: GenerationPlan, calls_per_block: CallsPerBlock | None) -> int:
    most = most_calls(plan)
    by_data = plan.threshold is not None or plan.factor is not None
    if not by_data:
        if calls_per_block is not None:
            raise CompileError(
                [
                    f"calls_per_block: {calls_per_block}, allowed: only with threshold or factor; "
                    f"this plan makes {most} calls in every block"
                ]
            )
        return most
    if calls_per_block is None:
        raise CompileError(
            [
                "threshold or factor: the number of calls depends on the data; state it as "
                f"calls_per_block, 1..{most} or 'worst'"
            ]
        )
    if calls_per_block == "worst":
        return most
    if isinstance(calls_per_block, bool) or not isinstance(calls_per_block, int):
        raise CompileError([f"calls_per_block: {calls_per_block!r}, allowed: 1..{most} or 'worst'"])
    if not 1 <= calls_per_block <= most:
        raise CompileError([f"calls_per_block: {calls_per_block}, allowed: 1..{most} or 'worst'"])
    return calls_per_block


def call_kinds(
    plan: GenerationPlan,
    prompt_length: int,
    earlier_positions: int = 1 << 30,
    calls_per_block: CallsPerBlock | None = None,
) -> dict[CallKind, int]:
    """The kinds of forward calls of a generation, in order of their first occurrence, and how often
    each occurs: a plan with quotas makes every call; every call commits its whole quota.

    Args:
        plan: What to generate.
        prompt_length: P.
        earlier_positions: Positions before a block that are searched for masks at once.
        calls_per_block: Of a plan with a threshold or factor, the calls of every block.

    Raises:
        CompileError: A plan whose number of calls depends on data and is not stated, or stated
            where it does not.
    """
    steps = _calls(plan, calls_per_block)
    length = prompt_length + plan.gen_length
    found: dict[CallKind, int] = {}
    for block in range(plan.blocks):
        start = prompt_length + block * plan.block_length
        steps_of: list[tuple[Kind, int, int, int]]
        if plan.cache == "none":
            steps_of = [("full", length, 0, steps)]
        else:
            steps_of = [("full", length, 0, 1)]
            if steps > 1 and plan.cache == "dual":
                steps_of.append(("refine_dual", plan.block_length, 1, steps - 1))
            elif steps > 1:
                steps_of.append(("refine_prefix", length - start, 1, steps - 1))
        for kind, count, step, times in steps_of:
            pieces = -(-start // earlier_positions) if kind == "full" else 0
            call = CallKind(kind, count, pieces, block, step, start)
            found[call] = found.get(call, 0) + times
    return found
