"""Arrays and other buffers: changed in place at every size, read-only where they were."""

import array

import functions
import pytest
from support import SOON

numpy = pytest.importorskip("numpy")

SIZES = [8, 1 << 10, 1 << 16, 1 << 20, 64 << 20]


def label(size):
    return f"{size >> 20}MiB" if size >> 20 else f"{size >> 10}KiB" if size >> 10 else f"{size}B"


@pytest.mark.parametrize("size", SIZES, ids=label)
def test_change_in_place(exe, size):
    original = numpy.arange(size // 8, dtype=float)
    changed = exe.submit(functions.add_one_in_place, original).result(timeout=SOON)
    assert changed.flags.writeable and changed.flags.aligned
    changed += 1
    assert changed[0] == 2 and changed[-1] == size // 8 + 1
    assert original[0] == 0 and original[-1] == size // 8 - 1


@pytest.mark.parametrize("size", SIZES, ids=label)
def test_read_only_stays_read_only(exe, size):
    def inspect(values):
        return values.flags.writeable, values

    original = numpy.arange(size // 8, dtype=float)
    original.flags.writeable = False
    writeable, returned = exe.submit(inspect, original).result(timeout=SOON)
    assert not writeable and not returned.flags.writeable
    assert returned[-1] == size // 8 - 1
    with pytest.raises(ValueError):
        returned += 1


def test_two_results_do_not_share_memory(exe):
    for size in (8, 1 << 20):
        source = exe.submit(numpy.zeros, size)
        first, second = (exe.submit(functions.identity, source) for _ in range(2))
        first.result(timeout=SOON)[:] = 1
        assert second.result(timeout=SOON).sum() == 0
        assert source.result(timeout=SOON).sum() == 0


@pytest.mark.parametrize(
    "values",
    [
        numpy.zeros(0),
        numpy.float64(1.5),
        numpy.zeros((3, 0, 2)),
        numpy.asfortranarray(numpy.arange(12.0).reshape(3, 4)),
        numpy.arange(1000)[::3],
        numpy.arange(1 << 18).reshape(512, 512)[::2, ::-1],
        numpy.array([("a", 1.0)], dtype=[("name", "U4"), ("value", float)]),
        numpy.array([None, "text", (1, 2)], dtype=object),
        numpy.array(["2020-01-01"], dtype="datetime64[D]"),
        numpy.arange(5, dtype=">i4"),
    ],
    ids=["empty", "scalar", "empty3d", "fortran", "strided", "strided2d", "record", "object", "datetime", "bigendian"],
)
def test_shapes_and_types(exe, values):
    returned = exe.submit(functions.identity, values).result(timeout=SOON)
    assert returned.dtype.newbyteorder("=") == values.dtype.newbyteorder("=") and returned.shape == values.shape
    assert numpy.array_equal(returned, values)


def test_many_arrays_in_one_call(exe):
    values = {n: numpy.full(1 << (n % 18), n, dtype=float) for n in range(40)}
    returned = exe.submit(functions.identity, values).result(timeout=SOON)
    assert all(numpy.array_equal(returned[n], values[n]) and returned[n].flags.writeable for n in values)


def test_one_array_twice_in_a_call_stays_one(exe):
    values = numpy.zeros(1 << 18)

    def change(first, second):
        first += 1
        return first is second, second[0]

    assert exe.submit(change, values, values).result(timeout=SOON) == (True, 1.0)


@pytest.mark.parametrize("size", [8, 1 << 20], ids=label)
def test_other_buffers(exe, size):
    for original in (bytes(size), bytearray(size), array.array("d", [0.0]) * (size // 8)):
        returned = exe.submit(functions.identity, original).result(timeout=SOON)
        assert type(returned) is type(original) and returned == original
    changed = exe.submit(functions.identity, bytearray(size)).result(timeout=SOON)
    changed[0] = 1


def test_a_result_outlives_its_future_and_executor(make):
    with make() as exe:
        values = exe.submit(numpy.ones, 1 << 20).result(timeout=SOON)
    assert values.sum() == 1 << 20
    values += 1
    assert values.sum() == 2 << 20


def test_an_argument_is_read_when_the_call_is_placed_or_before(exe, mode, gate):
    """Up to then a change may be seen, as in the standard library; afterwards it must not."""
    held = [gate.submit(exe, numpy.zeros(1 << 20))]
    gate.arrival()
    gate.open()
    assert held[0].result(timeout=SOON).sum() == 0
    values = numpy.zeros(1 << 20)
    future = exe.submit(numpy.sum, values)
    assert future.result(timeout=SOON) == 0
    values += 1
    assert exe.submit(numpy.sum, values).result(timeout=SOON) == 1 << 20


def test_a_dropped_argument_lives_until_the_call_has_it(exe, mode, gate):
    for _ in range(mode.workers):
        gate.submit(exe)
    gate.arrivals(mode.workers)
    values = numpy.ones(1 << 20)
    future = exe.submit(numpy.sum, values)
    del values
    gate.open()
    assert future.result(timeout=SOON) == 1 << 20


def test_an_argument_is_released_after_the_call(exe):
    import gc
    import weakref

    values = numpy.ones(1 << 20)
    reference = weakref.ref(values)
    future = exe.submit(numpy.sum, values)
    assert future.result(timeout=SOON) == 1 << 20
    del values
    # The engine lets go on its own thread; the next call on the same executor comes after that.
    assert exe.submit(functions.identity, 1).result(timeout=SOON) == 1
    gc.collect()
    assert reference() is None


def test_pandas(exe):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"x": numpy.arange(10.0), "label": list("abcdefghij")})
    assert exe.submit(functions.identity, frame).result(timeout=SOON).equals(frame)
    assert list(exe.map(functions.identity, frame["x"], timeout=SOON)) == list(range(10))
