import csv
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from npuvp._core import trace as t

from npuvp.traces import TraceOptions, power_columns

WATT_NS_TO_FJ = 10**6


def rows_of(path):
    with path.open(newline="") as file:
        return [{key: Decimal(v) for key, v in row.items()} for row in csv.DictReader(file)]


def test_columns_rows_and_totals(machine, tmp_path):
    path = tmp_path / "power.csv"
    tracing = machine.open(TraceOptions(power=path, power_window="25ns"))
    end = machine.run()
    assert path.read_text().splitlines()[0] == (
        "time_ns,core0,core0.scalar,core0.vector,core0.dma,hbm,host,total"
    )
    rows = rows_of(path)
    assert [row["time_ns"] for row in rows] == [0, 25, 50, 75, 100]
    # the vector unit spends 4,000,001 fJ over 20 ns of the first 25, and 250 mW
    assert rows[0]["core0.vector"] == Decimal("4000001") / (25 * WATT_NS_TO_FJ) + Decimal("0.25")
    # 120 ns end in the fifth window: what the run no longer uses of it counts as powerless
    assert rows[4]["core0"] == Decimal("0.125") * 20 / 25
    for row in rows:
        assert sum(v for key, v in row.items() if key not in ("time_ns", "total")) == row["total"]
    spent = sum(
        s.dynamic_fj + t.static_femtojoules(s.static_watts, end) for s in machine.hub.sources
    )
    assert sum(row["total"] for row in rows) * 25 * WATT_NS_TO_FJ == spent
    assert tracing.power.total_fj == spent == 3 * (4_000_001 + 999_999_999) + 52_500_000


def test_power_in_the_waveform_is_that_of_the_csv(machine, tmp_path):
    machine.open(TraceOptions(vcd=tmp_path / "a.vcd", power=tmp_path / "a.csv", power_window="7ns"))
    machine.run()
    rows = rows_of(tmp_path / "a.csv")
    text = (tmp_path / "a.vcd").read_text()
    for name in ("total", "power"):
        assert f" {name} $end" in text
    identifier = next(line for line in text.splitlines() if line.endswith(" total $end")).split()[3]
    shown, now = {}, 0
    for line in text.splitlines():
        if line.startswith("#"):
            now = int(line[1:])
        elif line.startswith("r") and line.endswith(" " + identifier):
            shown[now] = Decimal(line.split()[0][1:])
    level, expected = None, {}
    for row in rows:
        if row["total"] != level:
            level = expected[int(row["time_ns"])] = row["total"]
    assert shown == expected
    assert len(shown) > 10


def test_components_share_columns_by_kind():
    hub = t.Hub()
    for path, kind in [
        ("core0", "core"),
        ("core0.vector", "unit"),
        ("hbm.ch0", "memory"),
        ("hbm.ch1", "memory"),
        ("noc.r0c0.east", "link"),
        ("host", "host"),
    ]:
        hub.add_source(path, kind)
    assert power_columns(hub.sources) == [
        ("core0", [0]),
        ("core0.vector", [1]),
        ("hbm", [2, 3]),
        ("noc", [4]),
        ("host", [5]),
    ]


events = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.integers(0, 30_000),
        st.integers(0, 40_000),
        st.one_of(st.integers(0, 50), st.integers(0, 10**13)),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(
    events=events,
    window=st.sampled_from([1000, 2500, 100, 40_000, 100_000]),
    end=st.integers(30_000, 90_000),
    watts=st.floats(0, 10),
)
def test_energy_is_conserved(tmp_path_factory, events, window, end, watts):
    path = tmp_path_factory.mktemp("power") / "p.csv"
    hub = t.Hub()
    for name in ("a", "b", "c"):
        hub.add_source(name, "core", watts if name == "a" else 0.0)
    session = t.Session(hub)
    power = session.add_power(str(path), power_columns(hub.sources), window)
    spent = dict.fromkeys("abc", 0)
    for source, begin, length, femtojoules in sorted(events, key=lambda event: event[1]):
        hub.advance(begin)
        hub.energy(source, begin, begin + length, femtojoules)
        spent["abc"[source]] += femtojoules
    hub.finish(end)
    spent["a"] += t.static_femtojoules(watts, end)
    rows = rows_of(path)
    assert len(rows) == -(-end // window)
    for name, femtojoules in spent.items():
        assert sum(row[name] for row in rows) * window * 1000 == femtojoules
    assert all(row["a"] + row["b"] + row["c"] == row["total"] for row in rows)
    assert power.total_fj == sum(spent.values())


def test_the_highest_window_is_known(machine):
    tracing = machine.open(TraceOptions(vcd=None, power=None))
    assert tracing.power is None
    power = tracing.session.add_power("", power_columns(machine.hub.sources), 20_000)
    machine.run()
    assert power.peak_begin in (20_000, 60_000, 100_000)
    assert power.peak_watts == pytest.approx(0.4375 + 999_999_999 / 20e6, rel=1e-9)
