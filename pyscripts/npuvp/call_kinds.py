"""The forward calls of a generation, by what their time depends on."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from npuvp.compiler.dream import dream_shares
from npuvp.compiler.errors import CompileError
from npuvp.compiler.selection import Schedule
from npuvp.generation.calls import Kind
from npuvp.model.spec import Moe
from npuvp.plan import GenerationPlan

__all__ = [
    "CallKind",
    "CallsPerBlock",
    "call_kinds",
    "experts_faults",
    "known_of_block",
    "least_calls",
    "most_calls",
    "used_experts",
]

#: Forward calls of a block where the data decide: how many, or the most that there can be.
CallsPerBlock = int | Literal["worst"]


@dataclass(frozen=True)
class CallKind:
    """What a forward call's time depends on.

    Attributes:
        kind: As in `CallRecord`.
        count: Positions that it computes.
        span: Positions that are sampled.
        committed: Positions of a row of the batch that it commits, the mean of all such calls rounded.
        pieces: Pieces of the canvas that are searched for earlier masks; none but by the first call
            of a block.
        block: Of the first such call; later ones stand for it where only addresses differ.
        step: Within the block, likewise.
        start: First position of the block, likewise.
        experts: Of a mixture, how many the rows of a tile use; None: see `used_experts`.
    """

    kind: Kind
    count: int
    span: int
    committed: int = field(compare=False)
    pieces: int
    block: int = field(compare=False)
    step: int = field(compare=False)
    start: int = field(compare=False)
    experts: int | None = field(default=None, compare=False)

    @property
    def alike(self) -> tuple[Kind, int, int]:
        """Calls of which this is the same differ in what `begin` searches only."""
        return self.kind, self.count, self.span


def most_calls(plan: GenerationPlan) -> int:
    """Most forward calls of a block: each commits a token at least, and the steps may end it.

    LLaDA makes all its steps whatever is left; the others stop where no mask is.
    """
    if plan.revision == "dream":
        return _most_of_dream(plan)
    if plan.revision == "fast-dllm-v2":
        return plan.block_length + 1
    steps = plan.steps_per_block
    if plan.revision == "llada":
        return steps
    by_quota = plan.threshold is None and plan.factor is None
    # Under a threshold or factor the steps limit the dual cache of 2026 alone (facts 3.4).
    limited = by_quota or (plan.cache == "dual" and plan.revision == "fast-dllm-2026")
    return min(steps, plan.block_length) if limited else plan.block_length


def _most_of_dream(plan: GenerationPlan) -> int:
    """Dream's calls of the whole canvas, or of a block."""
    if plan.cache == "none":
        if plan.threshold is None:
            return plan.steps
        # A step commits one position at least, and steps are added until all are committed.
        return max(plan.steps, plan.gen_length)
    # The first call commits the first position, and a second one follows whatever is left.
    if plan.threshold is not None:
        return max(2, plan.block_length)
    shares = dream_shares(plan)
    left, calls = plan.block_length - 1, 1
    while calls < 2 or (left and calls <= Schedule.of(plan).steps):
        left -= int(np.float32(left) * shares[calls])
        calls += 1
    return calls


def least_calls(plan: GenerationPlan) -> int:
    """Fewest forward calls of a block where the data decide."""
    if plan.revision == "fast-dllm-v2":
        return plan.block_length // plan.sub_block + 1
    if plan.revision != "dream":
        return 1
    return plan.steps if plan.cache == "none" else 2


def _calls(plan: GenerationPlan, calls_per_block: CallsPerBlock | None) -> int:
    most, least = most_calls(plan), least_calls(plan)
    allowed = f"{least}..{most} or 'worst'"
    by_data = plan.threshold is not None or plan.factor is not None
    # What Fast-dLLM v2 commits is above its threshold: of 1, as published, nothing but the best is.
    if plan.revision == "fast-dllm-v2":
        by_data = plan.threshold is not None and plan.threshold < 1
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
                f"calls_per_block, {allowed}"
            ]
        )
    if calls_per_block == "worst":
        return most
    if isinstance(calls_per_block, bool) or not isinstance(calls_per_block, int):
        raise CompileError([f"calls_per_block: {calls_per_block!r}, allowed: {allowed}"])
    if not least <= calls_per_block <= most:
        raise CompileError([f"calls_per_block: {calls_per_block}, allowed: {allowed}"])
    return calls_per_block


def call_kinds(
    plan: GenerationPlan,
    prompt_length: int,
    earlier_positions: int = 1 << 30,
    calls_per_block: CallsPerBlock | None = None,
    experts: int | None = None,
) -> dict[CallKind, int]:
    """The kinds of forward calls of a generation, in order of their first occurrence, and how often
    each occurs: a plan with quotas makes every call; every call commits its whole quota.

    Args:
        plan: What to generate.
        prompt_length: P.
        earlier_positions: Positions before a block that are searched for masks at once.
        calls_per_block: Of a plan with a threshold or factor, the calls of every block.
        experts: Of every call.

    Raises:
        CompileError: A plan whose number of calls depends on data and is not stated, or stated
            where it does not.
    """
    steps = _calls(plan, calls_per_block)
    if plan.revision == "fast-dllm-v2":
        return _calls_of_blocks(plan, prompt_length, steps, experts)
    length = prompt_length + plan.gen_length
    # Of every kind the first call's place, and how often it occurs.
    found: dict[tuple[Kind, int, int, int, int], tuple[tuple[int, int, int], int]] = {}
    schedule, dream = Schedule.of(plan), plan.revision == "dream"
    # Dream's first call of a block concerns one position.
    alone = dream and plan.cache != "none"
    refined = schedule.length - alone
    committed = -(-refined // max(1, steps - alone))
    for block in range(schedule.blocks):
        start = prompt_length + block * schedule.length
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
            first = alone and kind == "full"
            span = 1 if first else schedule.length
            pieces = -(-start // earlier_positions) if kind == "full" and not first else 0
            call = (kind, count, span, 1 if first else committed, pieces)
            place, before = found.get(call) or ((block, step, start), 0)
            found[call] = place, before + times
    return {CallKind(*call, *place, experts): times for call, (place, times) in found.items()}


def experts_faults(moe: Moe | None, stated: int | None) -> list[str]:
    """What is wrong with a number of experts that is stated."""
    if stated is None:
        return []
    if moe is None:
        return [f"experts_per_tile: {stated}, allowed: only with a mixture of experts"]
    if isinstance(stated, int) and moe.top_k <= stated <= moe.experts:
        return []
    return [f"experts_per_tile: {stated!r}, allowed: {moe.top_k}..{moe.experts}"]


def used_experts(moe: Moe, rows: int, stated: int | None = None) -> int:
    """How many experts some of so many rows choose: what is stated, or on average and rounded if every
    row chooses its own independently of the others and all experts alike."""
    if stated is not None:
        return stated
    missed = (1 - moe.top_k / moe.experts) ** rows
    return round(moe.experts * (1 - missed))


def known_of_block(plan: GenerationPlan, kind: Kind) -> int:
    """Fast-dLLM v2: how many tokens of a block are known before the first mask, on average."""
    if kind == "commit":
        return plan.block_length
    half = plan.block_length // 2
    # A sub-block is denoised alone once its first token is known.
    return half if kind == "block" else half // plan.sub_block * plan.sub_block + 1


def _calls_of_blocks(
    plan: GenerationPlan, prompt: int, calls: int, experts: int | None
) -> dict[CallKind, int]:
    """Those of Fast-dLLM v2, if no end token ends it: passes over complete blocks of the prompt, then
    of every block calls that denoise it and one over the finished block. A block has no more than
    its masks, and none less than sub-blocks; with a cache of sub-blocks the first call of each sees
    the block."""
    size, sub = plan.block_length, plan.sub_block
    found: dict[CallKind, int] = {}

    def add(kind: Kind, count: int, span: int, committed: int, block: int, start: int) -> None:
        # The firmware asks whether a call is the block's first one.
        step = int(kind == "sub_block")
        call = CallKind(kind, count, span, committed, 0, block, step, start, experts)
        found[call] = found.get(call, 0) + 1

    complete = prompt // size * size if prompt > size else 0
    for start in range(0, complete, size):
        follows = start + size == complete and prompt % size == 0
        add("prefill", size, int(follows), int(follows), 0, start)
    for block in range(plan.blocks):
        start = (prompt // size + block) * size
        # The call before has written the first token.
        known = int(block > 0 or (complete > 0 and prompt % size == 0))
        if block == 0 and prompt % size:
            known = prompt % size
        masks = size - known
        subs = -(-masks // sub)
        denoising = min(max(calls - 1, subs), masks)
        for call in range(denoising):
            whole = not plan.sub_block_cache or call < subs
            kind: Kind = "block" if whole else "sub_block"
            add(kind, size if whole else sub, sub, -(-masks // denoising), block, start)
        add("commit", size, 1, 1, block, start)
    return found
