"""The forward calls of a generation, by what their time depends on."""

from dataclasses import dataclass, field

from npuvp.compiler.errors import CompileError
from npuvp.generation.calls import Kind
from npuvp.plan import GenerationPlan

__all__ = ["CallKind", "call_kinds", "one_core"]


@dataclass(frozen=True)
class CallKind:
    """What a forward call's time depends on.

    Attributes:
        kind: As in `CallRecord`.
        count: Positions that it computes.
        first: Whether it is the first call of a block (it searches the canvas for earlier masks).
        start: First position of the block, of the first such call; later ones stand for it where
            only addresses differ.
        step: Step within the block, likewise.
        block: Block, likewise.
        pieces: Pieces of the canvas that are searched for earlier masks.
    """

    kind: Kind
    count: int
    pieces: int
    block: int = field(compare=False)
    step: int = field(compare=False)
    start: int = field(compare=False)


def one_core(present: int, cores: int | None) -> list[str]:
    """Why a generation that several cores share is not served here, if it is one."""
    if cores == 1 or (cores is None and present == 1):
        return []
    wanted = present if cores is None else cores
    return [f"cores: {wanted}, allowed: 1 (closed form and replay are of one core)"]


def call_kinds(
    plan: GenerationPlan, prompt_length: int, earlier_positions: int = 1 << 30
) -> dict[CallKind, int]:
    """The kinds of forward calls of a generation, in order of their first occurrence, and how often
    each occurs: a plan with quotas makes every call; every call commits its whole quota.

    Args:
        plan: What to generate.
        prompt_length: P.
        earlier_positions: Positions before a block that are searched for masks at once.

    Raises:
        CompileError: A plan whose number of calls depends on data.
    """
    if plan.threshold is not None or plan.factor is not None:
        raise CompileError(["threshold or factor: the number of calls depends on the data"])
    length = prompt_length + plan.gen_length
    found: dict[CallKind, int] = {}
    for block in range(plan.blocks):
        start = prompt_length + block * plan.block_length
        steps = plan.steps_per_block
        if plan.cache == "none":
            steps_of = [("full", length, 0, steps)]
        else:
            refine = plan.block_length if plan.cache == "dual" else length - start
            steps_of = [("full", length, 0, 1)]
            if steps > 1:
                steps_of.append((f"refine_{plan.cache}", refine, 1, steps - 1))
        for kind, count, step, times in steps_of:
            pieces = -(-start // earlier_positions) if kind == "full" else 0
            call = CallKind(kind, count, pieces, block, step, start)  # type: ignore[arg-type]
            found[call] = found.get(call, 0) + times
    return found
