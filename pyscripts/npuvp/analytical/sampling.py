"""The sampling step of `npuvp.sampling` in closed form."""

from dataclasses import dataclass
from typing import Any

from npuvp.analytical.machine import Hardware
from npuvp.analytical.sampling_pieces import loaded, row_of_batch
from npuvp.analytical.schedule import Work, body, repeat
from npuvp.analytical.split_sampling import split_step
from npuvp.errors import InputError

__all__ = ["SamplingEstimate", "estimate_sampling"]

#: Bytes per logit in MXFP8 with a scale per block of 32.
MXFP8_BYTES = 33 / 32


@dataclass(frozen=True)
class SamplingEstimate:
    """A sampling step. Every figure is an estimate.

    Attributes:
        form: Firmware, as in `npuvp.sampling`.
        cycles: Of the platform's clock.
        time: Seconds.
        energy: Joules, static power included.
        compute: Cycles of a position's arithmetic.
        load: Cycles of a position's loads.
    """

    form: str
    cycles: float
    time: float
    energy: float
    compute: float
    load: float

    def summary(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "form": self.form,
            "cycles": self.cycles,
            "time_s": self.time,
            "energy_j": self.energy,
            "compute_cycles_per_position": self.compute,
            "load_cycles_per_position": self.load,
            "note": "every figure is an estimate in closed form",
        }


def estimate_sampling(
    hardware: Hardware,
    batch: int,
    positions: int,
    vocabulary: int,
    form: str | None = None,
    logit_bytes: float = MXFP8_BYTES,
) -> SamplingEstimate:
    """Estimates a sampling step without simulating anything.

    Args:
        hardware: The machine; its first core runs the step, or all cores do.
        batch: B.
        positions: L.
        vocabulary: V.
        form: "performance", "edge", "split" or None: what `sampling_firmware` takes.
        logit_bytes: Of a logit in memory, scales included; the firmware's are MXFP8.

    Raises:
        InputError: Sizes below 1, a form without a closed form, or one that does not fit.
    """
    for name, value in (("batch", batch), ("positions", positions), ("vocabulary", vocabulary)):
        if value < 1:
            raise InputError(f"{name} {value} (allowed: 1 and more)")
    if form not in (None, "performance", "edge", "split"):
        raise InputError(f"form {form!r} (allowed: performance, edge, split)")
    if form == "split" or (form is None and hardware.cores > 1):
        split = split_step(hardware, batch, positions, vocabulary, logit_bytes)
        return _estimated(hardware, "split", *split)
    vlen = hardware.vlen
    rows = -(-vocabulary // vlen)
    free = (hardware.vector_rows - 2 * -(-positions // vlen)) // 2
    fits = rows <= free and 7 * rows + 300 <= min(hardware.imem_words, 8192)
    if form is None:
        form = "performance" if fits else "edge"
    if form == "performance" and rows > free:
        raise InputError(f"two positions' logits of {rows} rows do not fit in Vector SRAM")
    blocking = hardware.classes.blocking
    maximum = "vmaxi1. int int"
    total_of = "vadd2. vexp2. vsum1. int"
    overhead = body(hardware, "int int int int int br fp fp int int int int freci. fm im int ctl")
    compute = Work()
    position = Work()
    if form == "performance":
        compute.add(body(hardware, maximum, rows))
        compute.add(body(hardware, total_of, rows))
        compute.add(overhead)
        groups = (rows - 1) // hardware.prefetch_rows
        compute.add(body(hardware, "int ctl int dma int"))
        compute.add(body(hardware, "dma int int", groups))
        load = Work()
        load.add(loaded(hardware, hardware.prefetch_rows * vlen * logit_bytes), groups)
        rest = vocabulary - groups * hardware.prefetch_rows * vlen
        load.add(loaded(hardware, rest * logit_bytes))
        if not blocking:  # they follow each other without a pause
            load.cycles -= groups * (hardware.memory.latency + hardware.memory.start)
        position.add(compute)
        position.beside(load)
        if blocking:
            position.cycles += load.cycles
            exposed = 0.0
        else:
            position.cycles = max(position.cycles, load.cycles)
            exposed = load.cycles
    else:
        step = max(1, 32 // vlen)
        chunk_rows = max(step, min(free, -(-rows // step) * step) // step * step)
        chunks = -(-rows // chunk_rows)
        last = vocabulary - (chunks - 1) * chunk_rows * vlen
        load = Work()
        for text in (maximum, total_of):
            work = body(hardware, f"{text} ctl", chunk_rows)
            final = body(hardware, f"{text} ctl", -(-last // vlen))
            around = body(hardware, repeat("int", 9) + " ctl br br int ctl dma int")
            whole = loaded(hardware, chunk_rows * vlen * logit_bytes)
            final_load = loaded(hardware, last * logit_bytes)
            load.add(whole, chunks - 1)
            load.add(final_load)
            compute.add(work, chunks - 1)
            compute.add(final)
            compute.add(around, chunks)
            if blocking:
                continue
            # The first chunk is waited for; then work and load of the next one go together.
            position.cycles += whole.cycles if chunks > 1 else final_load.cycles
            position.cycles += max(0, chunks - 2) * max(work.cycles + around.cycles, whole.cycles)
            if chunks > 1:
                position.cycles += max(work.cycles + around.cycles, final_load.cycles)
            position.cycles += final.cycles + around.cycles
        if blocking:
            position.cycles = compute.cycles + load.cycles
        position.cycles += overhead.cycles
        position.beside(compute)
        position.beside(overhead)
        position.beside(load)
        exposed = 0.0
    total = Work()
    total.add(position, batch * positions)
    total.add(row_of_batch(hardware, positions), batch)
    total.cycles += exposed + hardware.memory.load(1, 4.0 * batch)
    return _estimated(hardware, form, total, compute.cycles, load.cycles)


def _estimated(
    hardware: Hardware, form: str, total: Work, compute: float, load: float
) -> SamplingEstimate:
    energy = hardware.energy
    seconds = total.cycles / hardware.clock_hz
    dynamic = total.femtojoules + total.read * energy.read_byte + total.written * energy.write_byte
    joules = dynamic * 1e-15 + energy.static_watts * seconds
    return SamplingEstimate(form, total.cycles, seconds, joules, compute, load)
