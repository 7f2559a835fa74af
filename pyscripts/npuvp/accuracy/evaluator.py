"""Schemes side by side on a task file."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from npuvp.accuracy.caches import Pair, Treatment
from npuvp.accuracy.conversions import factors
from npuvp.accuracy.model import Observer, TorchModel, Weights
from npuvp.accuracy.sampling import start
from npuvp.accuracy.schemes import Scheme, SchemeError
from npuvp.accuracy.statistics import Interval, bootstrap, wilson
from npuvp.accuracy.tasks import Task, TaskError
from npuvp.generation.calls import ForwardCall, Tokens
from npuvp.generation.machine import checked_prompt
from npuvp.model.checkpoint import Checkpoint
from npuvp.model.quantised import read_activations
from npuvp.model.tokenizer import Tokenizer, TokenizerError
from npuvp.plan import GenerationPlan

__all__ = ["Evaluator", "Score"]

BATCH = 256
"""Prompts that are generated together."""
CALIBRATION = 64
"""Prompts that static factors are found on."""
COMPARED = 64
"""Prompts on which logits are compared call by call."""

Progress = Callable[[str, int], None]


@dataclass(frozen=True)
class Score:
    """What a scheme reached.

    Attributes:
        scheme: Which.
        right: Per prompt whether the answer is right.
        same: Per prompt the share of generated tokens that equal those of ``bf16``.
        kv_bytes: Of the cache of one row of the batch, when it is largest.
        logits_error: Root mean square difference of the logits to those of ``bf16`` on the same
            inputs, over the standard deviation of the latter; passes that read the cache (all
            passes where there is none).
        baseline: Per prompt whether the answer of ``bf16`` is right.
    """

    scheme: Scheme
    right: NDArray[np.bool_]
    same: NDArray[np.float64]
    kv_bytes: int
    logits_error: float
    baseline: NDArray[np.bool_] = field(repr=False)

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return float(self.right.mean())

    @property
    def agreement(self) -> float:
        """Share of generated tokens that equal those of ``bf16``."""
        return float(self.same.mean())

    def accuracy_interval(self) -> Interval:
        """95 %, Wilson."""
        return wilson(int(self.right.sum()), len(self.right))

    def agreement_interval(self) -> Interval:
        """95 %, bootstrap over prompts."""
        return bootstrap(self.same)

    def difference_interval(self) -> Interval:
        """95 % of accuracy minus that of ``bf16``, bootstrap over prompts, paired."""
        return bootstrap(self.right.astype(float) - self.baseline.astype(float))

    def data(self) -> dict[str, Any]:
        """As plain data."""
        difference = self.accuracy - float(self.baseline.mean())
        return {
            "accuracy": self.accuracy,
            "accuracy_interval": list(self.accuracy_interval()),
            "difference": difference,
            "difference_interval": list(self.difference_interval()),
            "agreement": self.agreement,
            "agreement_interval": list(self.agreement_interval()),
            "kv_bytes": self.kv_bytes,
            "logits_error": self.logits_error,
            "prompts": len(self.right),
        }


@dataclass(frozen=True)
class _Encoded:
    """Tasks of one prompt length: their numbers, prompts (N, P) and answers."""

    numbers: NDArray[np.int64]
    prompts: Tokens
    answers: list[tuple[int, ...]]


class Evaluator:
    """A model, a plan and tasks; schemes are scored one by one.

    Args:
        checkpoint: The model.
        plan: How to generate; its `kv_format` must be left at "bf16", the schemes say it.
        tasks: Prompts and answers.
        schemes: What will be scored: checked here, before any work.
        block: Channels that share a scale in the cache; None: 32, or the head if it is shorter.

    Raises:
        SchemeError, TaskError, InputFault, ValueError: What does not fit together.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        plan: GenerationPlan,
        tasks: Sequence[Task],
        schemes: Sequence[Scheme],
        block: int | None = None,
    ):
        if plan.kv_format != "bf16":
            raise ValueError(f"kv_format {plan.kv_format!r}: the schemes say it, leave 'bf16'")
        self.spec = checkpoint.spec
        self.plan = plan
        self.schemes = list(schemes)
        self.block = block
        faults = [f for scheme in schemes for f in scheme.faults(self.spec, plan, block)]
        if faults:
            raise SchemeError(faults)
        if not tasks:
            raise TaskError("no tasks")
        self.tokenizer: Tokenizer | None
        try:
            self.tokenizer = Tokenizer.load(checkpoint.name)
        except TokenizerError:
            self.tokenizer = None
        self._groups = self._encode(tasks)
        self.prompts = len(tasks)
        self.rows = 1 if self._one_row() else BATCH
        self.weights = Weights(checkpoint, *read_activations(checkpoint.name))
        self._largest: list[Pair] = []
        self._reference: tuple[NDArray[np.bool_], dict[int, Tokens]] | None = None

    def _one_row(self) -> bool:
        plan = self.plan
        one = plan.revision in ("fast-dllm-2025", "fast-dllm-v2")
        return one or (plan.revision == "dream" and plan.threshold is not None)

    def _ids(self, text: str | tuple[int, ...], where: str) -> list[int]:
        if isinstance(text, str):
            if self.tokenizer is None:
                raise TaskError(
                    f"{where}: text, but the model has no tokenizer, allowed: token ids"
                )
            return self.tokenizer.encode(text)
        return list(text)

    def _encode(self, tasks: Sequence[Task]) -> list[_Encoded]:
        by_length: dict[int, list[tuple[int, list[int], tuple[int, ...]]]] = {}
        for number, task in enumerate(tasks):
            prompt = self._ids(task.prompt, f"task {number + 1}: prompt")
            answer = tuple(self._ids(task.answer, f"task {number + 1}: answer"))
            if len(answer) > self.plan.gen_length:
                raise TaskError(
                    f"task {number + 1}: answer of {len(answer)} tokens, allowed: up to gen_length "
                    f"= {self.plan.gen_length}"
                )
            by_length.setdefault(len(prompt), []).append((number, prompt, answer))
        groups = []
        for length in sorted(by_length):
            numbers, prompts, answers = zip(*by_length[length], strict=True)
            rows = np.array(prompts, np.int32)
            checked_prompt(self.spec, self.plan, rows[:1], None)
            groups.append(_Encoded(np.array(numbers), rows, list(answers)))
        return groups

    def _batches(self, limit: int | None = None) -> Iterator[_Encoded]:
        left = self.prompts if limit is None else limit
        for group in self._groups:
            for first in range(0, len(group.prompts), self.rows):
                rows = slice(first, min(first + self.rows, first + left))
                if left <= 0:
                    return
                yield _Encoded(group.numbers[rows], group.prompts[rows], group.answers[rows])
                left -= len(group.prompts[rows])

    def model(self, scheme: Scheme, observer: Observer | None = None) -> TorchModel:
        """The model under a scheme."""
        fixed = self._static(scheme) if scheme.method == "static" else []
        block = scheme.block(self.spec, self.block) if scheme.quantised else 0
        treatment = Treatment(scheme, block, self.spec.head_dim, fixed)
        return TorchModel(self.weights, treatment, scheme.sampling, observer)

    def generate(
        self,
        scheme: Scheme,
        prompts: Tokens,
        on_call: Callable[[ForwardCall, NDArray[np.float32]], None] | None = None,
        observer: Observer | None = None,
    ) -> Tokens:
        """Final canvases of prompts of one length, (B, P) to (B, P + G).

        Args:
            scheme: How to cache and to sample.
            prompts: Token ids.
            on_call: Called with every forward call and its logits.
            observer: As in `TorchModel`.
        """
        model = self.model(scheme, observer)
        generation = start(self.spec, self.plan, prompts, scheme.sampling)
        while (call := generation.next_call()) is not None:
            logits = model(call)
            if on_call is not None:
                on_call(call, logits)
            generation.commit(logits)
        return generation.final()

    def observe(
        self, scheme: Scheme, plan: GenerationPlan, prompts: int, observer: Observer
    ) -> None:
        """Generates under another plan from the first prompts, one length, for what is seen."""
        rows = self._groups[0].prompts[:prompts]
        model = self.model(scheme, observer)
        generation = start(self.spec, plan, rows, scheme.sampling)
        while (call := generation.next_call()) is not None:
            generation.commit(model(call))

    def _static(self, scheme: Scheme) -> list[Pair]:
        """Factors found offline: each channel's largest magnitude in any pass of a BF16 run."""
        if not self._largest:
            found: dict[int, Pair] = {}

            def observe(call: ForwardCall, layer: int, k: Tensor, v: Tensor) -> None:
                pair = k.abs().amax(dim=(0, 1)), v.abs().amax(dim=(0, 1))
                if layer in found:
                    old = found[layer]
                    pair = torch.maximum(pair[0], old[0]), torch.maximum(pair[1], old[1])
                found[layer] = pair

            for batch in self._batches(min(CALIBRATION, self.prompts)):
                self.generate(Scheme("bf16"), batch.prompts, observer=observe)
            self._largest = [(k[None, None], v[None, None]) for _, (k, v) in sorted(found.items())]
        return [(factors(k, scheme.cache), factors(v, scheme.cache)) for k, v in self._largest]

    def _right(self, tokens: NDArray[np.int32], answer: tuple[int, ...]) -> bool:
        """Whether what was generated, up to the end token, is the answer."""
        end = np.flatnonzero(tokens == self.spec.eos_id)
        text = tokens[: int(end[0])] if len(end) else tokens
        return tuple(int(t) for t in text) == answer

    def _run(
        self, scheme: Scheme, progress: Progress | None
    ) -> tuple[NDArray[np.bool_], dict[int, Tokens]]:
        right = np.zeros(self.prompts, bool)
        tokens: dict[int, Tokens] = {}
        for batch in self._batches():
            final = self.generate(scheme, batch.prompts)
            length = batch.prompts.shape[1]
            for row, number in enumerate(batch.numbers):
                tokens[int(number)] = final[row, length:]
                right[number] = self._right(final[row, length:], batch.answers[row])
            if progress is not None:
                progress(scheme.name, len(batch.prompts))
        return right, tokens

    def _logits_error(self, scheme: Scheme) -> float:
        """See `Score.logits_error`."""
        squares = count = 0.0
        seen: list[NDArray[np.float32]] = []
        other: TorchModel

        def compare(call: ForwardCall, logits: NDArray[np.float32]) -> None:
            nonlocal squares, count
            found = other(call)
            if call.kind == "full" and self.plan.cache != "none":
                return
            squares += float(np.square(found - logits, dtype=np.float64).sum())
            count += logits.size
            seen.append(logits)

        for batch in self._batches(min(COMPARED, self.prompts)):
            other = self.model(scheme)
            self.generate(Scheme("bf16"), batch.prompts, compare)
        if not seen:
            return 0.0
        spread = float(np.concatenate([x.reshape(-1) for x in seen]).std())
        return float(np.sqrt(squares / count)) / spread

    def score(self, scheme: Scheme, progress: Progress | None = None) -> Score:
        """Scores one scheme on all tasks.

        Args:
            scheme: One of those that were checked.
            progress: Called with the scheme and the number of prompts done since the last call.
        """
        baseline = Scheme("bf16")
        if self._reference is None:
            self._reference = self._run(baseline, None)
        reference_right, reference = self._reference
        if scheme == baseline:
            right, tokens = self._reference
            if progress is not None:
                progress(scheme.name, self.prompts)
        else:
            right, tokens = self._run(scheme, progress)
        same = np.array([_share(tokens[n], reference[n]) for n in range(self.prompts)])
        prompt = max(group.prompts.shape[1] for group in self._groups)
        return Score(
            scheme,
            right,
            same,
            scheme.kv_bytes(self.spec, self.plan, prompt, self.block),
            self._logits_error(scheme),
            reference_right,
        )


def _share(found: Tokens, wanted: Tokens) -> float:
    """Share of equal tokens; block diffusion may end earlier or later."""
    length = max(len(found), len(wanted))
    shorter = min(len(found), len(wanted))
    return float((found[:shorter] == wanted[:shorter]).sum()) / max(1, length)
