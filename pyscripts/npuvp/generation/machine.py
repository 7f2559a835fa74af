"""What all generations have in common: a state machine that asks for forward calls.

    call = generation.next_call()       # None: finished
    record = generation.commit(logits)  # of that call

The state is the object's attributes: canvas, block, step and what the subclass adds; nothing is
hidden in a coroutine.
"""

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import ArrayLike, NDArray

from npuvp.generation.calls import Bools, CallRecord, Floats, ForwardCall, GenerationError, Tokens
from npuvp.model.spec import ModelSpec
from npuvp.plan import GenerationPlan

__all__ = ["Generation", "InputFault", "checked_prompt"]


class InputFault(ValueError):
    """Prompt, mask and plan that do not fit each other or the model; the message lists all faults.

    Attributes:
        faults: One line each.
    """

    def __init__(self, faults: list[str]):
        super().__init__("the generation cannot start:\n  " + "\n  ".join(faults))
        self.faults = faults


_REVISIONS = {
    "llada": ("llada", "fast-dllm-2025", "fast-dllm-2026"),
    "llada-moe": ("llada", "fast-dllm-2025", "fast-dllm-2026"),
    "dream": ("dream",),
    "fast-dllm-v2": ("fast-dllm-v2",),
}


def checked_prompt(
    spec: ModelSpec, plan: GenerationPlan, tokens: ArrayLike, attention_mask: ArrayLike | None
) -> tuple[Tokens, Bools | None]:
    """Holds prompt and mask against model and plan.

    Args:
        spec: The model.
        plan: What to generate.
        tokens: Prompt, integers of shape (B, P), or (P,) for one row.
        attention_mask: Shape (B, P), 1 for a token and 0 for padding; None: no padding.

    Returns:
        Prompt (B, P) and mask (B, P), None where nothing is padded.

    Raises:
        InputFault: All faults.
    """
    faults = []
    prompt = np.asarray(tokens)
    if prompt.ndim == 1:
        prompt = prompt[None]
    if prompt.ndim != 2 or 0 in prompt.shape:
        raise InputFault([f"tokens: shape {np.shape(tokens)}, allowed: (B, P), neither of them 0"])
    if prompt.dtype.kind not in "iu":
        faults.append(f"tokens: type {prompt.dtype}, allowed: integers")
    elif prompt.min() < 0 or prompt.max() >= spec.vocab:
        faults.append(f"tokens: {prompt.min()}..{prompt.max()}, allowed: 0..{spec.vocab - 1}")
    batch, length = prompt.shape
    padding: Bools | None = None
    if attention_mask is not None:
        given = np.asarray(attention_mask)
        if given.ndim == 1:
            given = given[None]
        if given.shape != prompt.shape:
            faults.append(f"attention_mask: shape {given.shape}, allowed: {prompt.shape}")
        elif not np.isin(given, (0, 1)).all():
            faults.append("attention_mask: holds other values than 0 and 1")
        else:
            padding = given.astype(bool)
            empty = np.flatnonzero(~padding.any(axis=1))
            if len(empty):
                faults.append(f"attention_mask: row {empty[0]} hides the whole prompt")
            if padding.all():
                padding = None
    allowed = _REVISIONS[spec.architecture]
    if plan.revision not in allowed:
        faults.append(
            f"revision: {plan.revision!r} with architecture {spec.architecture!r}, allowed: "
            f"{', '.join(allowed)}"
        )
    if length + plan.gen_length > spec.max_length:
        faults.append(
            f"prompt of {length} and gen_length {plan.gen_length}: "
            f"{length + plan.gen_length} positions, the model has {spec.max_length}"
        )
    if plan.confidence_eos_eot_inf and plan.eot_id >= spec.vocab:
        faults.append(f"eot_id: {plan.eot_id}, allowed: 0..{spec.vocab - 1}")
    if batch > 1:
        reason = {
            "fast-dllm-2025": "its canvas has one row",
            "fast-dllm-v2": "its generate ends with the first row that ends",
        }.get(plan.revision)
        if plan.dream_algorithm == "confidence_threshold" and plan.revision == "dream":
            reason = "'confidence_threshold' is written for one row"
        if reason is not None:
            faults.append(f"tokens: {batch} rows, revision {plan.revision!r} takes 1: {reason}")
    if padding is not None and plan.revision == "fast-dllm-v2":
        faults.append("attention_mask: revision 'fast-dllm-v2' has none")
    if faults:
        raise InputFault(faults)
    return prompt.astype(np.int32), padding


class Generation(ABC):
    """A generation in progress.

    Args:
        spec: The model.
        plan: What to generate.
        tokens: Prompt, integers (B, P) or (P,).
        attention_mask: Shape (B, P), 0 for padding, or None. The keys of padding are hidden in
            every pass. Of the published codes LLaDA's and Dream's do that; Fast-dLLM has no such
            argument.

    Attributes:
        canvas: Tokens, int32, shape (B, L).
        block, step: Where the generation stands.
        calls: Number of calls made.
        prompt_length: P.

    Raises:
        InputFault: What does not fit; all faults.
    """

    def __init__(
        self,
        spec: ModelSpec,
        plan: GenerationPlan,
        tokens: ArrayLike,
        attention_mask: ArrayLike | None = None,
    ):
        prompt, self.padding = checked_prompt(spec, plan, tokens, attention_mask)
        self.spec = spec
        self.plan = plan
        self.prompt_length = int(prompt.shape[1])
        self.canvas: Tokens = prompt
        self.block = 0
        self.step = 0
        self.calls = 0
        self.pending: ForwardCall | None = None

    @property
    def rows(self) -> int:
        """Batch size, B."""
        return int(self.canvas.shape[0])

    @property
    def masked(self) -> Bools:
        """Where the canvas holds the mask token, shape (B, L)."""
        return np.equal(self.canvas, self.spec.mask_id)

    def next_call(self) -> ForwardCall | None:
        """The next forward call, or None when the generation is finished.

        Raises:
            GenerationError: It cannot go on.
            RuntimeError: The logits of the last call were not committed.
        """
        if self.pending is not None:
            raise RuntimeError(f"call {self.pending.index} waits for its logits")
        self.pending = self._next()
        return self.pending

    def commit(self, logits: Floats) -> CallRecord:
        """Takes the logits of the call that `next_call` returned.

        Args:
            logits: Shape (R, high - low, V).

        Raises:
            GenerationError: It cannot go on.
            RuntimeError: No call waits.
            ValueError: Another shape.
        """
        call = self.pending
        if call is None:
            raise RuntimeError("no call waits for logits")
        wanted = (len(call.tokens), call.logits[1] - call.logits[0], self.spec.vocab)
        if logits.shape != wanted:
            raise ValueError(f"logits: shape {logits.shape}, allowed: {wanted}")
        before = self.canvas.copy()
        transfer = self._apply(call, logits)
        self.pending = None
        self.calls += 1
        return CallRecord(
            call.kind,
            call.block,
            call.step,
            call.start,
            call.length,
            before,
            self.canvas.copy(),
            transfer,
        )

    @abstractmethod
    def _next(self) -> ForwardCall | None: ...

    @abstractmethod
    def _apply(self, call: ForwardCall, logits: Floats) -> Bools: ...

    def final(self) -> Tokens:
        """The canvas as it is handed out."""
        return self.canvas.copy()

    def _append_masks(self, count: int) -> None:
        masks = np.full((self.rows, count), self.spec.mask_id, np.int32)
        self.canvas = np.concatenate([self.canvas, masks], axis=1)

    def _key_mask(self, copies: int = 1) -> Bools | None:
        """Which keys of the canvas are seen, shape (copies * B, L)."""
        if self.padding is None:
            return None
        beyond = np.ones((self.rows, self.canvas.shape[1] - self.prompt_length), bool)
        return np.tile(np.concatenate([self.padding, beyond], axis=1), (copies, 1))

    def _write(self, transfer: Bools, tokens: Tokens, first: int) -> Bools:
        """Commits tokens (B, n) from canvas index `first` where `transfer` (B, n) says so.

        Returns:
            The transfer over the whole canvas, (B, L).
        """
        whole = np.zeros(self.canvas.shape, bool)
        whole[:, first : first + transfer.shape[1]] = transfer
        self.canvas = self.canvas.copy()
        self.canvas[whole] = tokens[transfer]
        return whole

    def _demand_progress(self, transfer: Bools) -> None:
        """Where only the mask token was committed and nothing is random, nothing will change."""
        stuck = transfer.any() and (self.canvas[transfer] == self.spec.mask_id).all()
        if stuck and self.plan.temperature == 0:
            raise GenerationError(
                f"block {self.block}, step {self.step}: the model predicts the mask token "
                f"{self.spec.mask_id} wherever a token is committed; revision "
                f"{self.plan.revision!r} would repeat this step for ever"
            )


def index_range(flags: Bools) -> tuple[int, int]:
    """[first, last + 1) of the columns in which any row is set; (0, 0) if there is none."""
    columns: NDArray[np.intp] = np.flatnonzero(flags.any(axis=0))
    return (int(columns[0]), int(columns[-1]) + 1) if len(columns) else (0, 0)
