"""Firmware of a single forward call with its sampling, from a state as if the calls before it had run:
what replay simulates (`npuvp.replay`)."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from npuvp.call_kinds import CallKind, known_of_block, used_experts
from npuvp.compiler.blocks import KINDS, BlockControl
from npuvp.compiler.control import Control
from npuvp.compiler.dream import DreamControl
from npuvp.compiler.head import Forward
from npuvp.compiler.layout import Shape
from npuvp.compiler.state import State
from npuvp.model.spec import ModelSpec, Moe
from npuvp.plan import GenerationPlan

__all__ = ["BEGIN", "CONTROLS", "END", "OneCall", "canvas_of", "decisions_of"]

#: Words to the host.
BEGIN, END = 1000, 1001


class OneCall(Control):
    """A call of LLaDA's revisions."""

    def one_call(self, call: CallKind) -> None:
        """The whole text; words to the host say when the call begins and ends."""
        asm = self.asm
        asm.store("gp0", State.CALL)
        self._begin()
        for word, value in (
            (State.BLOCK, call.block),
            (State.START, call.start),
            (State.END, call.start + self.schedule.length),
            (State.STEP, 0),
        ):
            asm.li("gp1", value)
            asm.store("gp1", word)
        self._quotas()
        asm.li("gp1", call.step)
        asm.store("gp1", State.STEP)
        asm("C_FENCE 0xFFFF")
        if self.phases.leads:
            # As it leaves the call before: the others have its record still to read.
            self.phases.meet()
            asm.li("gp1", BEGIN)
            asm("C_HOST_PUSH gp1")
        else:
            self._follow()
            asm.store("gp0", State.CALL)
        self._work(call)
        if self.phases.leads:
            if call.span:
                self._sample()
                self._log()
                self.phases.meet()
            asm.li("gp1", END)
            asm("C_HOST_PUSH gp1")
        elif call.span:
            self._phase("sampling")  # where its counters of the head end
            self._follow()
        self._halt()

    def _work(self, call: CallKind) -> None:
        """Up to sampling."""
        self._begin_call()
        self._forward(False)


class OneDreamCall(OneCall, DreamControl):
    """A call of Dream."""


class OneBlockCall(OneCall, BlockControl):
    """A call of Fast-dLLM v2; the canvas says what it does (`canvas_of`)."""

    def _work(self, call: CallKind) -> None:
        asm, number = self.asm, {kind: number for number, kind in KINDS.items()}
        size = self.plan.block_length
        asm.store("gp0", State.LEFT)
        self._store(State.FRESH, call.start)
        self._store(State.LIMIT, call.start // size * self._mask_bytes)
        if call.kind == "prefill":
            for word, value in (
                (State.KIND, number["prefill"]),
                (State.FIRST, call.start),
                (State.COUNT, size),
                (State.ROWS, size),
                (State.LOW, call.start + size),
                (State.SPAN, 1),
            ):
                self._store(word, value)
            self._count_call()
        else:
            self._count_call()
            done = asm.new_label("done")
            self._what_next(done)
            asm.label(done)
        self._layers(True)
        if call.span:
            self._phase("head")
            self.phases.head()


CONTROLS: dict[str, type[OneCall]] = {"dream": OneDreamCall, "fast-dllm-v2": OneBlockCall}


def canvas_of(
    call: CallKind, spec: ModelSpec, plan: GenerationPlan, shape: Shape
) -> NDArray[np.int32]:
    """Tokens (L, B) before a call."""
    token = next(i for i in range(3) if i not in (spec.mask_id, spec.eos_id))
    canvas = np.full((shape.length, shape.batch), spec.mask_id, np.int32)
    first = shape.prompt
    if plan.revision == "fast-dllm-v2":
        # What is masked of the block is what the kind of call needs.
        first = call.start + known_of_block(plan, call.kind)
    canvas[:first] = token
    return canvas


def _chosen_experts(
    moe: Moe, at: int, rows: int, tile: int, stated: int | None
) -> list[tuple[int, int]]:
    """Which experts are used by the tiles of a layer: the first ones."""
    taken = []
    for first in range(0, rows, tile):
        used = used_experts(moe, min(tile, rows - first), stated)
        taken += [(at, 1)] * used + [(at, 0)] * (moe.experts - used)
    return taken


def _levels(
    at: Mapping[str, int], phases: Forward, shape: Shape, call: CallKind
) -> list[tuple[int, int]]:
    """The search for the tokens that remain under top_p and top_k: every other bit of a level is set,
    and the one token at it stands in the middle of the vocabulary."""
    layout = phases.layout
    tile, (full, rest) = layout.whole_positions, divmod(layout.spec.vocab, layout.geometry.width)
    # Of the chunks that are whole, and of the last one.
    labels = sorted(value for name, value in at.items() if name.startswith("decide_remaining"))
    places = [labels[0]] * full + [labels[-1]] * bool(rest)
    first, most = phases.share(tile, shape.batch)
    taken = []
    for done in range(0, call.span * shape.batch, tile):
        rows = max(0, min(call.span * shape.batch - done - first, most))
        for bit in range(16):
            taken += [(at["decide_bit"], bit % 2)] * rows
        if phases.sampler.top_p == 1:
            taken += [(place, 0) for place in places for _ in range(rows)]
            continue
        taken += [(at["decide_ties"], 0)] * 20 * rows
        middle = len(places) // 2
        taken += [(place, 0) for place in places[:middle] for _ in range(rows)]
        taken += [(places[middle], 1)] * rows
    return taken


def decisions_of(
    at: Mapping[str, int],
    phases: Forward,
    plan: GenerationPlan,
    shape: Shape,
    call: CallKind,
) -> list[tuple[int, int]]:
    """What a call takes from data, at the addresses of labels.

    Args:
        at: Addresses.
        phases: The core's, emitted.
        plan, shape, call: Of what.
    """
    spec, leads = phases.layout.spec, phases.leads
    taken: list[tuple[int, int]] = []
    if "decide_quota" in at and leads:
        taken += [(at["decide_quota"], plan.block_length)] * shape.samples
    if call.pieces:
        taken += [(at["decide_earlier"], 0)] * call.pieces
    if spec.moe is not None:
        rows = call.count * shape.batch
        place, tile = at["decide_expert"], phases.rows_of_tile
        layer = _chosen_experts(spec.moe, place, rows, tile, call.experts)
        taken += layer * spec.layers
    if phases.sampler.restricted and call.span:
        taken += _levels(at, phases, shape, call)
    if not leads:
        return taken
    if "decide_masks" in at:  # so many at once that the step's share of them is `committed`
        taken.append((at["decide_masks"], 4 * shape.samples * call.span))
        taken += [(at["decide_take"], 1)] * call.committed + [(at["decide_take"], 0)]
    if plan.factor is not None:
        ranks = range(2, min(call.committed + 2, call.span))
        for _ in range(shape.samples):
            if call.span > 2:
                taken.append((at["decide_masked"], call.span))
            taken += [(at["decide_reached"], min(i, call.committed)) for i in ranks]
    return taken
