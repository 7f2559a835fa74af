"""The interface between generation and model: forward calls, their records and the result."""

from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from npuvp import html

__all__ = [
    "Bools",
    "CallRecord",
    "Floats",
    "Forward",
    "ForwardCall",
    "GenerationError",
    "GenerationResult",
    "Kind",
    "PhaseUse",
    "Tokens",
]

Tokens = NDArray[np.int32]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float32]

Kind = Literal["full", "refine_prefix", "refine_dual", "prefill", "block", "sub_block", "commit"]


class GenerationError(RuntimeError):
    """A generation that cannot go on; the published code fails or loops for ever at this point."""


@dataclass(frozen=True)
class ForwardCall:
    """One pass through the model, of R rows and n tokens each.

    What the pass attends to and what it keeps of its keys and values, by `kind`:

    * ``full``: its own n tokens, the whole canvas. The first `keep` rows are kept, in place of
      whatever was kept (0: nothing; the block's start: prefix cache; all: dual cache).
    * ``refine_prefix``: the kept rows, [0, start), and its own tokens, [start, L). Keeps nothing.
    * ``refine_dual``: its own rows overwrite the kept rows [start, start + n); all kept rows.
    * ``prefill``: its own tokens, causal between blocks of `block_length`; appended to the cache.
    * ``block``: the cache and its own tokens. `keep` n: they are held beside the cache, for
      ``sub_block`` calls of this block; 0: nothing is kept.
    * ``sub_block``: its own rows overwrite the held block's rows from `offset`; the cache and the
      held block.
    * ``commit``: the cache and its own tokens; appended to the cache.

    Attributes:
        index: Number of the call, from 0.
        kind: See above.
        block: Block that is being written, from 0; -1 in a prefill.
        step: Step in that block, from 0.
        start: Canvas index of the first token.
        tokens: Shape (R, n). Under guidance R = 2 B: first the rows with the prompt, then those in
            which it is masked.
        positions: Rotary positions, shape (R, n).
        key_mask: False where a key is hidden (padding), over all keys the pass attends to, shape
            (R, keys); None: nothing is hidden.
        logits: Canvas indices [low, high) of the output rows that are wanted.
        keep: See above.
        offset: Row of a held block at which a ``sub_block`` begins.
        block_length: Blocks of the causal pattern of a ``prefill``.
    """

    index: int
    kind: Kind
    block: int
    step: int
    start: int
    tokens: Tokens
    positions: Tokens
    key_mask: Bools | None
    logits: tuple[int, int]
    keep: int = 0
    offset: int = 0
    block_length: int = 0

    @property
    def length(self) -> int:
        """Tokens of a row, n."""
        return int(self.tokens.shape[1])


class Forward(Protocol):
    """A model: carries out calls in the order of their index, and holds the caches."""

    def __call__(self, call: ForwardCall) -> Floats:
        """Logits of the wanted output rows, float32, shape (R, high - low, V)."""


@dataclass(frozen=True)
class CallRecord:
    """What one forward call did.

    Attributes:
        kind, block, step, start, length: As in `ForwardCall`.
        canvas_before: Shape (B, L).
        canvas_after: Shape (B, L), longer by one after a call that appends a token.
        transfer: Shape of `canvas_after`: what was committed. A position to which the mask token
            was committed stays masked.
        cycles: Cycles of the simulated machine from the end of the call before; None without one.
        energy: Joules likewise, an estimate; static energy included.
    """

    kind: Kind
    block: int
    step: int
    start: int
    length: int
    canvas_before: Tokens
    canvas_after: Tokens
    transfer: Bools
    cycles: int | None = None
    energy: float | None = None


@dataclass(frozen=True)
class PhaseUse:
    """What the machine spent on one kind of work, over all calls.

    Attributes:
        seconds: Simulated time.
        stalled: Of that, waiting for DMA.
        energy: Joules, an estimate; static energy included.
    """

    seconds: float
    stalled: float
    energy: float


@dataclass(frozen=True)
class GenerationResult:
    """What was generated.

    Attributes:
        tokens: Final canvas, int32, shape (B, P + G); of Fast-dLLM v2 as long as it became.
        calls: One record per forward call.
        prompt_length: P.
        seconds: Simulated time of the whole generation; None without a machine.
        energy: Joules likewise, an estimate.
        phases: By kind of work: ``embedding``, ``attention`` (projections included), ``ffn``,
            ``head``, ``sampling`` and ``control``; they add up to `seconds` and `energy`. Empty
            without a machine.
    """

    tokens: Tokens
    calls: list[CallRecord] = field(repr=False)
    prompt_length: int
    seconds: float | None = None
    energy: float | None = None
    phases: dict[str, PhaseUse] = field(default_factory=dict, repr=False)

    @property
    def committed(self) -> int:
        """Tokens that were written."""
        return sum(int(call.transfer.sum()) for call in self.calls)

    @property
    def tokens_per_second(self) -> float | None:
        """Committed tokens per second of simulated time."""
        return self.committed / self.seconds if self.seconds else None

    @property
    def tokens_per_joule(self) -> float | None:
        """Committed tokens per joule."""
        return self.committed / self.energy if self.energy else None

    def _repr_html_(self) -> str:
        text = f"{self.committed} tokens in {len(self.calls)} calls"
        if self.seconds is not None and self.energy is not None:
            text += f", {html.quantity(self.seconds, 's')}, {html.quantity(self.energy, 'J')} (estimate)"
        calls = [
            (i, call.kind, call.block, call.step, call.start, call.length, int(call.transfer.sum()),
             "" if call.cycles is None else f"{call.cycles:,}")
            for i, call in enumerate(self.calls)
        ]  # fmt: skip
        parts = [html.heading(text)]
        if self.phases:
            times = {name: use.seconds for name, use in self.phases.items()}
            parts.append(html.bars(("phase", "time"), times, "s"))
        written = [" ".join(map(str, row[self.prompt_length :])) for row in self.tokens.tolist()]
        parts.append(html.table(("row", "tokens written"), enumerate(written)))
        names = ("call", "kind", "block", "step", "start", "length", "written", "cycles")
        parts.append(html.table(names, calls))
        return "".join(parts)
