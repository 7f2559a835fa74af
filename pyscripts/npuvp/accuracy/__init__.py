"""The accuracy path: models in PyTorch with the machine's number formats (extra `accuracy`).

    from npuvp.accuracy import evaluate
    scores = evaluate("models/llada-mini", schemes="bf16,mxint4,baos", limit=100)

`schemes` says what can be compared, `tasks` what a task file holds; `evaluate` and whatever computes
need PyTorch.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from npuvp.accuracy.schemes import DEFAULT_SCHEMES, Scheme, SchemeError
from npuvp.accuracy.tasks import Task, TaskError, find_tasks, read_tasks
from npuvp.model.checkpoint import RandomCheckpoint, load_model
from npuvp.model.spec import ModelError
from npuvp.plan import GenerationPlan

if TYPE_CHECKING:
    from npuvp.accuracy.evaluator import Evaluator, Progress, Score

__all__ = [
    "DEFAULT_PLAN",
    "Scheme",
    "SchemeError",
    "Task",
    "TaskError",
    "evaluate",
    "evaluator_of",
    "need_torch",
]

DEFAULT_PLAN = GenerationPlan(gen_length=16, block_length=8, steps=8, cache="dual")
"""What the shipped models are scored with: two tokens a step, two warm passes."""


def need_torch() -> None:
    """Demands PyTorch.

    Raises:
        ModelError: It is not installed.
    """
    try:
        import torch  # noqa: F401
    except ImportError:
        raise ModelError(
            "the accuracy path",
            ["PyTorch is not installed; run: NPUVP_EXTRAS=accuracy make setup"],
        ) from None


def evaluate(
    model: str | Path,
    tasks: str | Path | Sequence[Task] | None = None,
    schemes: str | Sequence[str] = DEFAULT_SCHEMES,
    *,
    plan: GenerationPlan = DEFAULT_PLAN,
    limit: int | None = None,
    block: int | None = None,
    progress: "Progress | None" = None,
) -> "dict[str, Score]":
    """Scores schemes on tasks; everything is checked before any work starts.

    Args:
        model: Checkpoint directory.
        tasks: Task file, or the tasks themselves; None: ``tasks.jsonl`` in the model's directory or
            the one above.
        schemes: Names (`npuvp.accuracy.schemes`), or one text with commas.
        plan: How to generate.
        limit: Only so many tasks, from the first.
        block: Channels that share a scale in the cache; None: 32, or the head if it is shorter.
        progress: Called with a scheme and the number of prompts done since the last call.

    Returns:
        Scores by scheme, in the given order.

    Raises:
        SchemeError, TaskError, ModelError, InputFault, ValueError: What does not fit.
    """
    evaluator = evaluator_of(model, tasks, schemes, plan=plan, limit=limit, block=block)
    return {scheme.name: evaluator.score(scheme, progress) for scheme in evaluator.schemes}


def evaluator_of(
    model: str | Path,
    tasks: str | Path | Sequence[Task] | None = None,
    schemes: str | Sequence[str] = DEFAULT_SCHEMES,
    *,
    plan: GenerationPlan = DEFAULT_PLAN,
    limit: int | None = None,
    block: int | None = None,
) -> "Evaluator":
    """What `evaluate` scores with; arguments and faults as there."""
    wanted = Scheme.parse_all(schemes)
    if limit is not None and limit < 1:
        raise TaskError(f"limit: {limit}, allowed: 1 or more")
    checkpoint = load_model(model)
    if isinstance(checkpoint, RandomCheckpoint):
        raise ModelError(str(model), ["random weights have no accuracy, allowed: a directory"])
    if tasks is None or isinstance(tasks, str | Path):
        tasks = read_tasks(find_tasks(model) if tasks is None else tasks)
    faults = [f for scheme in wanted for f in scheme.faults(checkpoint.spec, plan, block)]
    if faults:
        raise SchemeError(faults)
    need_torch()
    from npuvp.accuracy.evaluator import Evaluator

    return Evaluator(checkpoint, plan, tasks[:limit], wanted, block)
