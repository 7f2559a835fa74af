"""Generation that the host drives: it launches every forward call, and looks at the machine between.

The firmware is that of a generation that runs alone, with a few instructions more before every call:
it rings the host's doorbell with the number of the call, and waits for a semaphore that the host
signals. Tokens, calls and everything in memory are the same.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from npuvp.closing import Closing
from npuvp.compiler.control import LAUNCH_SEMAPHORE
from npuvp.compiler.formats import Formats
from npuvp.compiler.runtime import Job, generation_error, prepare, read_calls
from npuvp.compiler.state import State
from npuvp.errors import InputError, Trap
from npuvp.firmware import Tensor
from npuvp.generation.calls import CallRecord, GenerationResult
from npuvp.loading import LoadedMachine
from npuvp.model.checkpoint import Checkpoint
from npuvp.plan import GenerationPlan

if TYPE_CHECKING:
    from npuvp.debug import Debugger
    from npuvp.platform import Platform
    from npuvp.run import Result

__all__ = ["HostDriven"]


class _Launcher(Protocol):
    """A machine that runs from one launch to the next."""

    @property
    def machine(self) -> LoadedMachine:
        """The machine as it stands."""

    def ring(self) -> None:
        """Signals the semaphore that the firmware waits for."""

    def go_on(self) -> bool:
        """Runs until the firmware waits for the host (True) or has ended (False)."""

    def close(self) -> None:
        """Gives the run up where it stands."""


class _Simulated:
    """The simulated machine, under a debugger: it stands still where the firmware waits."""

    def __init__(self, platform: "Platform", job: Job):
        from npuvp.debug import Debugger

        self.debugger = Debugger(platform, job.firmware, inputs=job.inputs)
        leader = self.debugger.core_names[0]
        self._point = self.debugger.break_at("C_SEM_WAIT", core=leader).number
        [region] = [r for r in job.description["memory_map"] if r["name"] == "semaphores"]
        self._bell = region["base"] + 4 * LAUNCH_SEMAPHORE

    @property
    def machine(self) -> LoadedMachine:
        """The machine as it stands."""
        return self.debugger.machine

    def ring(self) -> None:
        """Signals the semaphore that the firmware waits for."""
        self.machine.write_global(self._bell, np.array([1], np.uint32).view(np.uint8))

    def go_on(self) -> bool:
        """Runs until the firmware waits for the host (True) or has ended (False)."""
        while True:
            stop = self.debugger.cont()
            if stop.error is not None:
                raise stop.error
            if stop.ended or self._point in stop.numbers:
                return not stop.ended

    def close(self) -> None:
        """Gives the run up where it stands."""
        self.debugger.close()


class _Golden:
    """The golden machine."""

    def __init__(self, job: Job):
        from npuvp.golden.machine import GoldenMachine
        from npuvp.tensors import checked_inputs

        self.machine: LoadedMachine = GoldenMachine(job.description, job.firmware)
        self.machine.load_inputs(checked_inputs(job.firmware, job.inputs, integers_only=False))
        self._golden = self.machine

    def ring(self) -> None:
        """Signals the semaphore that the firmware waits for."""
        self._golden.semaphores.signal(LAUNCH_SEMAPHORE, 1)

    def go_on(self) -> bool:
        """Runs until the firmware waits for the host (True) or has ended (False)."""
        return not self._golden.advance()

    def close(self) -> None:
        """Nothing to give up."""


class HostDriven(Closing):
    """A generation that stands still before every forward call, until the host launches it.

    Iterating launches call after call and yields their records; between them (and before the first)
    everything that the machine holds can be looked at.

    Args:
        model, tokens, plan, platform, attention_mask, golden, formats, cores: As of `npuvp.generate`.

    Raises:
        ModelError, PlanError, InputFault, CompileError: As `npuvp.generate`.
        GenerationError: The published code fails or loops for ever at this point.
    """

    def __init__(
        self,
        model: Checkpoint | str | Path,
        tokens: ArrayLike | str,
        plan: GenerationPlan,
        platform: "Platform | None" = None,
        *,
        attention_mask: ArrayLike | None = None,
        golden: bool = False,
        formats: Formats | Mapping[str, Any] | str | Path | None = None,
        cores: int | None = None,
    ):
        self.job = prepare(
            model,
            tokens,
            plan,
            platform,
            attention_mask=attention_mask,
            golden=golden,
            formats=formats,
            cores=cores,
            host_driven=True,
        )
        self.calls: list[CallRecord] = []
        self._result: GenerationResult | None = None
        self._run: Result | None = None
        self._rung = False
        if golden:
            self._launcher: _Launcher = _Golden(self.job)
        else:
            assert platform is not None
            self._launcher = _Simulated(platform, self.job)
        self._go_on()

    def close(self) -> None:
        """Gives the generation up where it stands; what the machine holds can still be read."""
        self._launcher.close()

    # Driving

    def ring(self) -> None:
        """Rings the doorbell without going on, for those who go through a call with `debugger`.

        Raises:
            InputError: The generation has ended, or the bell has been rung.
        """
        if self._result is not None:
            raise InputError("the generation has ended: no call is left to launch")
        if self._rung:
            raise InputError("the call has been launched: launch() completes it")
        self._launcher.ring()
        self._rung = True

    def launch(self) -> CallRecord | None:
        """Launches the next forward call and runs it to its end (or completes one that `ring` has
        begun).

        Returns:
            Its record; None where no call was left.

        Raises:
            GenerationError: The published code fails or loops for ever at this point.
        """
        if self._result is not None:
            return None
        if not self._rung:
            self.ring()
        self._rung = False
        before = len(self.calls)
        self._go_on()
        return self.calls[-1] if len(self.calls) > before else None

    def __iter__(self) -> Iterator[CallRecord]:
        while (call := self.launch()) is not None:
            yield call

    def _go_on(self) -> None:
        try:
            waits = self._launcher.go_on()
        except Trap as trap:
            raise generation_error(trap) or trap from None
        job, machine = self.job, self.machine
        names = ("tokens", "call_log", "canvas_log", "transfer_log")
        outputs = {name: machine.read_tensor(job.firmware.tensors[name]) for name in names}
        if waits:
            self.calls = read_calls(job.compilation, outputs, job.canvas)
            return
        if self.debugger is not None:
            self._run = self.debugger.result
            outputs = self._run.outputs
        self._result = job.generated(outputs, self._run)
        self.calls = self._result.calls

    @property
    def result(self) -> GenerationResult:
        """What was generated, when it has ended.

        Raises:
            InputError: Calls are left.
        """
        if self._result is None:
            raise InputError(f"the generation has not ended: {len(self.calls)} calls are done")
        return self._result

    @property
    def run(self) -> "Result | None":
        """The machine's result, when the generation has ended; None for the golden machine."""
        return self._run

    # Looking

    @property
    def debugger(self) -> "Debugger | None":
        """Run control of the simulated machine, for going through a call instruction by instruction
        (after `ring`); None for the golden machine. It cannot go back: a replay has no host that
        rings."""
        return self._launcher.debugger if isinstance(self._launcher, _Simulated) else None

    @property
    def machine(self) -> LoadedMachine:
        """The machine as it stands; all its memories can be read, and written."""
        return self._launcher.machine

    @property
    def canvas(self) -> NDArray[np.int32]:
        """Tokens as memory holds them now, int32, shape (B, L); those written by the host since the
        last call included."""
        tokens = self.machine.read_tensor(self.job.firmware.tensors["tokens"])
        return np.ascontiguousarray(tokens.T[: len(self.job.canvas)]).astype(np.int32)

    def state(self) -> dict[str, int]:
        """The words of INT SRAM that the first core keeps of block, step and call, by name."""
        words = self._words("int", 0, State.FREE).view(np.uint32)
        return {word.name.lower(): int(words[word]) for word in State if word < State.FREE}

    def _words(self, sram: str, first: int, count: int) -> NDArray[np.uint8]:
        name = self.job.description["cores"][0]["name"]
        return self.machine.read_bytes(f"{name}.{sram}", 4 * first, 4 * count)

    @property
    def confidences(self) -> NDArray[np.float32]:
        """Scores that the last call ranked positions by, shape (B, L); NaN where it made none."""
        return self._sampled("fp", self.job.compilation.memory.words["maxima"], np.float32, np.nan)

    @property
    def candidates(self) -> NDArray[np.int32]:
        """Tokens that the last call would commit, shape (B, L); -1 where it made none."""
        return self._sampled("int", self.job.compilation.memory.candidates, np.int32, -1)

    def _sampled(self, sram: str, first: int, kind: Any, missing: Any) -> NDArray[Any]:
        shape = self.job.compilation.shape
        found = np.full((shape.samples, shape.length), missing, kind)
        if self.calls:
            state = self.state()
            low, span = state["low"], state["span"]
            words = self._words(sram, first, shape.samples * span).view(kind)
            found[:, low : low + span] = words.reshape(shape.samples, span)
        return found

    def cache(self, layer: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Keys (after the rotation) and values of a layer as memory holds them, decoded.

        Rows that no call has written are 0. A smoothed cache (``baos-...``) holds them divided by
        its factors. Without a cache these are the rows of the last call.

        Args:
            layer: From 0.

        Returns:
            Both float32, of shape (B, L, kv_heads, head_dim); under guidance (2 B, ...).

        Raises:
            InputError: There is no such layer.
        """
        layout, spec = self.job.compilation.layout, self.job.compilation.checkpoint.spec
        if not 0 <= layer < spec.layers:
            raise InputError(f"layer {layer} (layers: 0..{spec.layers - 1})")
        base = layout.layer_base + layer * layout.layer_stride
        batch, length = layout.shape.batch, layout.shape.length
        found = []
        for role in ("keys", "values"):
            stored = layout.stored[role]
            table = Tensor(
                role,
                "hbm",
                base + stored.offset,
                stored.element,
                (length, batch, spec.kv_heads, spec.head_dim),
                "inout",
                block=stored.block,
                scales=base + stored.scales if stored.scaled else 0,
            )
            found.append(
                self.machine.read_tensor(table).transpose(1, 0, 2, 3)[..., : spec.head_channels]
            )
        return found[0], found[1]
