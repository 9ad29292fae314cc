"""Small arrays and numbers of NumPy's: what arrives is what the standard pickle would have brought."""

import copyreg
import math
import pickle
import struct

import functions
import pytest
from support import SOON, Mode

numpy = pytest.importorskip("numpy")


def read_only():
    values = numpy.arange(3.0)
    values.flags.writeable = False
    return values


class Tagged(numpy.ndarray):
    """A subclass with state of its own."""

    def __reduce__(self):
        constructor, arguments, state = super().__reduce__()
        return constructor, arguments, (state, self.tag)

    def __setstate__(self, state):
        super().__setstate__(state[0])
        self.tag = state[1]


def tagged():
    values = numpy.arange(3.0).view(Tagged)
    values.tag = "mine"
    return values


ARRAYS = {
    **{
        name: numpy.array([0, 1, 2], dtype=name)
        for name in ("bool", "int8", "uint16", "int64", "float16", "float32", "float64", "longdouble", "complex64")
    },
    "complex with nan": numpy.array([complex("nan-infj"), -0.0, 1j]),
    "big-endian": numpy.array([1, 2, 3], dtype=">i4"),
    "datetime64": numpy.array(["2020-01-01", "NaT"], dtype="datetime64[D]"),
    "timedelta64": numpy.array([1, -1], dtype="timedelta64[ns]"),
    "bytes": numpy.array([b"a", b"bcd"]),
    "str": numpy.array(["a", "ünïcode"]),
    "object": numpy.array([None, "text", (1, 2)], dtype=object),
    "structured": numpy.array([("a", 1.5, 7)], dtype=[("name", "U4"), ("value", "f8"), ("part", "i2", (2, 2))]),
    "aligned": numpy.zeros(2, dtype=numpy.dtype([("a", "i1"), ("b", "f8")], align=True)),
    "structured with objects": numpy.array([(1, [])], dtype=[("number", "i8"), ("any", object)]),
    "void": numpy.zeros(2, dtype="V5"),
    "unit of metadata": numpy.zeros(2, dtype=numpy.dtype("f8", metadata={"unit": "m"})),
    "0-d": numpy.array(1.5),
    "empty": numpy.zeros(0),
    "empty 3-d": numpy.zeros((3, 0, 2), dtype="i4"),
    "2-d": numpy.arange(6.0).reshape(2, 3),
    "Fortran order": numpy.asfortranarray(numpy.arange(12.0).reshape(3, 4)),
    "every third": numpy.arange(100)[::3],
    "reversed": numpy.arange(5)[::-1],
    "broadcast": numpy.broadcast_to(numpy.array([7.0]), (3,)),
    "field": numpy.zeros(3, dtype=[("a", "i1"), ("b", "f8")])["b"],
    "unaligned": numpy.frombuffer(bytearray(17), dtype="i1")[1:].view("f8"),
    "read-only": read_only(),
    "of bytes": numpy.frombuffer(b"12345678", dtype="i4"),
    "matrix": numpy.arange(4).reshape(2, 2).view(numpy.matrix),
    "recarray": numpy.rec.array([(1, 2.5)], dtype=[("a", "i4"), ("b", "f8")]),
    "masked": numpy.ma.masked_array([1.0, 2.0, 3.0], mask=[0, 1, 0], fill_value=-1.0),
    "subclass": tagged(),
    "below the limit": numpy.arange(4095.0),
    "at the limit": numpy.arange(4096.0),
    "above the limit": numpy.arange(5000.0),
    "1 MiB": numpy.arange(1 << 17, dtype=float),
}


@pytest.fixture(params=[Mode(block=False, workers=1), Mode(block=True, workers=1)], ids=str)
def mode(request):
    return request.param


def traits(values):
    """What has to be the same on both sides."""
    flags = values.flags
    return {
        "type": type(values),
        "dtype": (values.dtype, values.dtype.isalignedstruct, values.dtype.metadata),
        "shape": values.shape,
        "flags": (flags.writeable, flags.c_contiguous, flags.f_contiguous, flags.aligned),
        "values": values.tolist() if values.dtype.hasobject else values.tobytes(),
        "tag": getattr(values, "tag", None),
        "mask": getattr(values, "mask", numpy.array(0)).tolist(),
        "filling": repr(getattr(values, "fill_value", None)),
    }


def traits_and_value(values):
    return traits(values), values


def test_arrays_arrive_as_they_were(exe):
    """As the standard pickle brings them."""
    futures = {name: exe.submit(traits_and_value, values) for name, values in ARRAYS.items()}
    for name, future in futures.items():
        expected = traits(pickle.loads(pickle.dumps(ARRAYS[name], 5)))
        inside, found = future.result(timeout=SOON)
        assert inside == expected, f"{name}, as an argument"
        assert traits(found) == expected, f"{name}, as a result"


def test_arrays_in_containers(exe):
    futures = {name: exe.submit(functions.identity, [{"key": (array,)}, array]) for name, array in ARRAYS.items()}
    for name, future in futures.items():
        in_dict, in_list = future.result(timeout=SOON)
        assert traits(in_list) == traits(pickle.loads(pickle.dumps(ARRAYS[name], 5))), name
        assert in_dict["key"][0] is in_list, f"{name}: one array twice stays one"


def change(values):
    values[...] = 7
    return values


def test_a_copy_may_be_changed_on_both_sides(exe):
    for name in ("float64", "int8", "0-d", "2-d", "Fortran order", "every third", "above the limit"):
        values = ARRAYS[name].copy()
        found = exe.submit(change, values).result(timeout=SOON)
        assert (found == 7).all() and not (values == 7).all(), name
        found[...] = 8
        assert (found == 8).all(), name


def test_two_arrays_on_one_memory_become_two(exe):
    values = numpy.arange(4.0)
    whole, part = exe.submit(functions.identity, (values, values[1:])).result(timeout=SOON)
    whole[:] = 0
    assert part.tolist() == [1, 2, 3]


def test_an_array_of_arrays(exe):
    values = numpy.array([numpy.arange(2.0), numpy.arange(3.0), "text"], dtype=object)
    found = exe.submit(functions.identity, values).result(timeout=SOON)
    assert [list(item) for item in found[:2]] == [[0, 1], [0, 1, 2]] and found[2] == "text"


NUMBERS = [0.0, -0.0, 1.5, math.nan, -math.nan, math.inf, -math.inf, 5e-324, 1.7976931348623157e308]


def kind_and_value(value):
    return type(value), value


def test_a_float64_stays_one(exe):
    futures = [exe.submit(kind_and_value, numpy.float64(number)) for number in NUMBERS]
    for number, future in zip(NUMBERS, futures):
        inside, found = future.result(timeout=SOON)
        assert inside is type(found) is numpy.float64, number
        assert struct.pack("d", found) == struct.pack("d", number), number
    found = exe.submit(functions.identity, [numpy.float64(number) for number in NUMBERS]).result(timeout=SOON)
    assert {type(value) for value in found} == {numpy.float64}
    assert struct.pack("9d", *found) == struct.pack("9d", *NUMBERS)


def test_a_float64_out_of_a_map(exe):
    found = list(exe.map(numpy.mean, [numpy.arange(n + 1.0) for n in range(50)], timeout=SOON))
    assert found == [n / 2 for n in range(50)]
    assert {type(value) for value in found} == {numpy.float64}


def test_other_numbers(exe):
    for kind in ("float16", "float32", "longdouble", "int8", "int64", "bool", "complex128", "str_", "datetime64"):
        value = numpy.datetime64("2020-01-01") if kind == "datetime64" else getattr(numpy, kind)(1)
        found = exe.submit(functions.identity, value).result(timeout=SOON)
        assert type(found) is type(value) and found == value, kind


class Meters(numpy.float64):
    """NumPy pickles it as the number that it is."""


def test_a_subclass_of_a_number(exe):
    expected = pickle.loads(pickle.dumps(Meters(2.5), 5))
    found = exe.submit(functions.identity, Meters(2.5)).result(timeout=SOON)
    assert type(found) is type(expected) and found == 2.5


class NotNumpy:
    """Its name is all that it has in common with an array."""

    shape = dtype = None

    def __init__(self):
        self.content = "mine"


NotNumpy.__name__ = NotNumpy.__qualname__ = "ndarray"
ndarray = NotNumpy


def test_another_class_of_that_name(exe):
    found = exe.submit(functions.identity, NotNumpy()).result(timeout=SOON)
    assert type(found) is NotNumpy and found.content == "mine"


def test_a_reducer_of_the_users_own_comes_first(exe):
    values = numpy.arange(3.0)
    assert exe.submit(functions.identity, values).result(timeout=SOON).tolist() == [0, 1, 2]
    copyreg.pickle(numpy.ndarray, lambda array: (list, (array.tolist(),)))
    try:
        assert pickle.loads(pickle.dumps(values)) == [0, 1, 2]
        found = exe.submit(type, values).result(timeout=SOON)
    finally:
        del copyreg.dispatch_table[numpy.ndarray]
    assert found is list
