"""A sampling step, position by position: what is issued, what is loaded
meanwhile, and which waits for which (`npuvp.programs`: sampling.inc, sampling_performance.s and
sampling_edge.s).

Positions of a row of the batch and rows of the batch are alike: some are gone through, and stand
for the others.
"""

from dataclasses import dataclass, field

from npuvp.analytical.machine import Hardware
from npuvp.analytical.schedule import body, immediate, repeat

__all__ = ["MAXIMUM", "TOTAL", "edge_cycles", "performance_cycles"]

#: A row of logits, in the search for the maximum and in the sum of exponentials.
MAXIMUM, TOTAL = "vmaxi1. int int", "vadd2. vexp2. vsum1. int"
#: Positions and rows of the batch that are gone through one by one.
_POSITIONS, _ROWS = 8, 3
#: Constants, addresses, and the numbers of tokens to commit.
_PROLOGUE = "int int " + repeat("int ctl", 6) + " int ctl ctl int ctl int"


@dataclass
class _Run:
    """A core, its vector unit and its transfers.

    Attributes:
        h: The machine.
        logit_bytes: Of a logit in memory, scales included.
        now: When the core issues next.
        vector: When the vector unit is free.
        memory: When the last load is there.
        port: When the ports are free.
        mesh: When the mesh is, where there is one.
        pending: When transfers end.
        waited: Cycles for which the core has waited for loads.
    """

    h: Hardware
    logit_bytes: float
    now: float = 0.0
    vector: float = 0.0
    memory: float = 0.0
    port: float = 0.0
    mesh: float = 0.0
    pending: list[float] = field(default_factory=list)
    waited: float = 0.0

    @property
    def scaled(self) -> bool:
        """Whether blocks of 32 logits of a byte have scales."""
        return self.logit_bytes == 33 / 32

    def issue(self, text: str) -> None:
        """Instructions that wait for nothing."""
        self.now += body(self.h, text).cycles

    def _room(self) -> None:
        queue = self.h.memory.queue
        if len(self.pending) >= queue:
            self.now = max(self.now, self.pending[-queue])

    def load(self, bytes_: float, at: float | None = None, logits: bool = False) -> float:
        """A load; when it is there.

        Args:
            bytes_: How many.
            logits: Whether they are logits, with their scales.
            at: Where they are from the beginning of what is read once, one after the other; None: in
                rows of memory that are open.
        """
        memory = self.h.memory
        self._room()
        latency = memory.start + memory.latency
        if memory.rows is not None:
            closed, opened, before, area = memory.rows
            latency = memory.start + (closed if at is not None and at % area < before else opened)
        length, period = memory.refresh
        keeps = bytes_ / memory.bytes_per_cycle * (1 - length / period)
        # A scale per block of logits, in a place of its own; a window of bursts per round trip.
        bursts = max(1.0, bytes_ / memory.burst_bytes) + (self.scaled and logits)
        under_way = sum(end > self.now for end in self.pending[-memory.reads :]) * bursts
        trips = max(0.0, bursts - max(0.0, memory.reads - under_way)) / memory.reads
        keeps = max(keeps, (latency + keeps / bursts) * trips)
        # The ports stream a burst while the memory does, and then the others.
        burst = min(bytes_, memory.burst_bytes)
        answer = self.now + latency + burst / memory.bytes_per_cycle
        self.port = max(answer, max(self.port, self.now) + burst / memory.port_bytes)
        self.port += (bytes_ - burst) / memory.port_bytes
        if memory.flit_bytes:  # behind the memory a packet per burst, with a header
            self.mesh = max(self.mesh, self.now + latency)
            self.mesh += bytes_ / memory.flit_bytes + bursts
            self.port = max(self.port, self.mesh)
        self.memory = max(max(self.memory, self.now + latency) + keeps, self.port)
        self.pending.append(self.memory)
        self._issued(self.memory)
        return self.memory

    def _issued(self, end: float) -> None:
        """A transfer that ends then; a core that blocks waits for it."""
        self.issue("dma")
        if self.h.classes.blocking:
            self.wait(end)

    def store(self, bytes_: float) -> float:
        """A store; when it has left the core."""
        memory = self.h.memory
        self._room()
        latency = memory.start + (memory.rows[1] if memory.rows else memory.latency)
        # Behind the requests of the loads before it.
        begin = max(self.now, self.memory - latency)
        end = begin + memory.store(1, bytes_)
        self.memory = max(self.memory, begin + latency + bytes_ / memory.bytes_per_cycle)
        self.pending.append(end)
        self._issued(end)
        return end

    def elements(self, timing: str, count: float, after: float = 0.0) -> float:
        """An instruction that streams elements, no earlier than `after`; when its result is there."""
        interval, latency, per = self.h.classes.costs[timing]
        begin = max(self.now, self.vector, after)
        self.vector = begin + interval + per * count
        end = begin + max(interval, latency) + per * count
        self.now = end if self.h.classes.blocking else begin + 1
        return end

    def wait(self, there: float) -> None:
        """Until a load is there."""
        self.waited += max(0.0, there - self.now)
        self.now = max(self.now, there)

    def end(self) -> float:
        """When all is done; refreshes that the core has waited for are added."""
        self.wait(max(self.pending[-4:]))
        length, period = self.h.memory.refresh
        refreshes = self.now // period if length else 0.0
        return self.now + refreshes * length * min(1.0, self.waited / self.now)

    def rows(self, text: str, count: float, there: float, last: float = 0.0) -> None:
        """A loop over rows of Vector SRAM, of which the last `last` are there at `there`."""
        one = body(self.h, text).cycles
        begin = max(self.now, self.vector)
        self.now = begin + count * one
        self.wait(there + last * one)
        self.vector = self.now

    def later(self, cycles: float) -> None:
        """All that is under way goes on in the same way for so long."""
        self.waited += cycles * self.waited / self.now
        self.now += cycles
        self.vector += cycles
        self.memory += cycles
        self.port += cycles
        self.mesh += cycles
        self.pending = [end + cycles for end in self.pending[-self.h.memory.queue :]]


def _constant(value: float) -> str:
    return repeat("int", immediate(value))


def _begin_row(run: _Run, positions: int, tokens_free: float) -> None:
    """Tokens of the row, and which of them are masked."""
    run.issue("int ctl int")
    run.wait(tokens_free)
    there = run.load(4.0 * positions, None if tokens_free else 0.0)
    run.issue("int int int")
    run.wait(there)
    run.elements("vector_compare", positions)


def _end_row(run: _Run, positions: int) -> float:
    """The choice and its results; when the row's tokens have left the core."""
    h = run.h
    run.issue("int int im int int int")
    run.elements("vector_topk", positions)
    there = 0.0
    for at in range(0, positions, h.vlen):
        run.issue("int int int int")
        count = min(h.vlen, positions - at)
        chosen = run.elements("vector_select_int", count)
        there = run.elements("vector_select_int", count, chosen)
        run.issue("int int")
    run.issue("int ctl int")
    run.now = max(run.now, there)
    left = run.store(4.0 * positions)
    run.issue("int")
    run.store(4.0 * positions)
    run.issue("int ctl")
    run.store(4.0 * positions)
    run.issue("int ctl int int int")
    run.store(2.0 * positions)
    run.issue("int int int ctl br")
    return left


def _end_position(run: _Run) -> None:
    # The last sum, its reciprocal, and what is kept.
    costs = run.h.classes.costs
    run.now = max(run.now, run.vector + costs["vector_sum"][1] - costs["vector_sum"][0])
    run.issue("freci. fm. im int ctl")


def performance_cycles(
    h: Hardware, batch: int, positions: int, vocabulary: int, logit_bytes: float
) -> float:
    """Cycles of the form that has a position's logits in Vector SRAM as a whole."""
    rows = -(-vocabulary // h.vlen)
    group = h.prefetch_rows * h.vlen
    groups = (rows - 1) // h.prefetch_rows
    rest = vocabulary - groups * group
    last_rows = rows - groups * h.prefetch_rows
    run = _Run(h, logit_bytes)
    run.issue(_PROLOGUE)
    run.load(4.0 * batch, 0.0)
    run.issue("int int int int ctl int int")

    def load_position(number: float) -> float:
        at = number * vocabulary * logit_bytes
        run.issue("int" + (" ctl" if groups else ""))
        for _ in range(groups):
            run.load(group * logit_bytes, at, True)
            run.issue("int int")
        run.issue(f"{_constant(rest)} ctl")
        there = run.load(rest * logit_bytes, at, True)
        run.issue("int")
        return there

    there = load_position(0)
    run.issue("int")
    tokens_free = 0.0
    begun: list[float] = []
    for row in range(min(batch, _ROWS)):
        begun.append(run.now)
        _begin_row(run, positions, tokens_free)
        run.issue("int ctl")
        started: list[float] = []
        for position in range(min(positions, _POSITIONS)):
            started.append(run.now)
            run.issue(f"int int int {_constant(float(batch * positions * vocabulary))} br")
            arrives = there
            final = row + 1 == min(batch, _ROWS) and position + 1 == min(positions, _POSITIONS)
            if not final:
                there = load_position(row * positions + position + 1)
            run.issue("fp fp int int int")
            run.rows(MAXIMUM, rows, arrives, last_rows)
            run.issue("int")
            run.rows(TOTAL, rows, 0.0)
            _end_position(run)
            if position == _POSITIONS - 3 and positions > _POSITIONS:
                skipped = (positions - _POSITIONS) * (started[-1] - started[-3]) / 2
                run.later(skipped)
                there += skipped
        tokens_free = _end_row(run, positions)
    if batch > _ROWS:
        run.later((batch - _ROWS) * (begun[-1] - begun[-2]))
    run.issue("sync")
    return run.end()


def edge_cycles(
    h: Hardware,
    batch: int,
    positions: int,
    vocabulary: int,
    logit_bytes: float,
    chunk_rows: int,
) -> float:
    """Cycles of the form that passes the vocabulary through Vector SRAM in chunks, twice."""
    rows = -(-vocabulary // h.vlen)
    chunks = -(-rows // chunk_rows)
    chunk = chunk_rows * h.vlen
    last = vocabulary - (chunks - 1) * chunk
    last_rows = -(-last // h.vlen)
    run = _Run(h, logit_bytes)
    run.issue(_PROLOGUE)
    run.load(4.0 * batch, 0.0)
    run.issue("int int int ctl int int int")
    sizes = (_constant(chunk), _constant(last))
    tokens_free = 0.0
    begun: list[float] = []

    def one_pass(text: str, at: float | None) -> None:
        loop = f"{text} ctl"
        if chunks == 1:
            run.issue(f"{sizes[1]} ctl")
            there = run.load(last * logit_bytes, at, True)
        else:
            run.issue(f"{sizes[0]} ctl")
            there = run.load(chunk * logit_bytes, at, True)
            run.issue("ctl")
            started: list[float] = []
            for index in range(min(chunks - 1, _POSITIONS)):
                started.append(run.now)
                arrives = there
                final = index + 1 == min(chunks - 1, _POSITIONS)
                run.issue(f"int int int {sizes[0]} int br {sizes[final]} ctl")
                there = run.load((last if final else chunk) * logit_bytes, None, True)
                run.issue("int ctl" if final else "br int ctl")
                run.wait(arrives)
                run.rows(loop, chunk_rows, 0.0)
                run.issue("ctl")
                if index == _POSITIONS - 3 and chunks - 1 > _POSITIONS:
                    skipped = (chunks - 1 - _POSITIONS) * (started[-1] - started[-3]) / 2
                    run.later(skipped)
                    there += skipped
            run.issue(f"{_constant((chunks - 1) * chunk)} int")
        run.issue("int int int int ctl")
        run.wait(there)
        run.rows(loop, last_rows, 0.0)

    for row in range(min(batch, _ROWS)):
        begun.append(run.now)
        _begin_row(run, positions, tokens_free)
        run.issue("int ctl")
        started: list[float] = []
        for position in range(min(positions, _POSITIONS)):
            started.append(run.now)
            run.issue("fp fp int int")
            one_pass(MAXIMUM, (row * positions + position) * vocabulary * logit_bytes)
            one_pass(TOTAL, None)
            run.issue(f"{_constant(vocabulary)} int")
            _end_position(run)
            if position == _POSITIONS - 3 and positions > _POSITIONS:
                run.later((positions - _POSITIONS) * (started[-1] - started[-3]) / 2)
        tokens_free = _end_row(run, positions)
    if batch > _ROWS:
        run.later((batch - _ROWS) * (begun[-1] - begun[-2]))
    run.issue("sync")
    return run.end()
