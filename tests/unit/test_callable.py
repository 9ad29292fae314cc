"""What can be submitted."""

import functools
import operator

import pytest

from executorlib._callable import check_callable


def plain(a, b=1):
    resource_dict = {"a": a}  # only a local name
    return resource_dict


def taken(a, resource_dict=None):
    return a


def keyword_only(*, resource_dict):
    return resource_dict


@functools.wraps(taken)
def decorated(*args, **kwargs):
    return taken(*args, **kwargs)


class Taken:
    def __init__(self, resource_dict=None):
        pass

    def __call__(self, resource_dict):
        return resource_dict

    def method(self, resource_dict):
        return resource_dict


class Answers:
    """Has every attribute, as proxies do."""

    def __getattr__(self, name):
        return self

    def __call__(self):
        return 1


@pytest.mark.parametrize(
    "fn",
    [
        taken,
        keyword_only,
        decorated,
        functools.partial(taken, 1),
        functools.partial(decorated),
        Taken,
        Taken(),
        Taken().method,
        lambda resource_dict: None,
    ],
)
def test_a_parameter_named_resource_dict(fn):
    with pytest.raises(ValueError, match="resource_dict"):
        check_callable(fn)


@pytest.mark.parametrize("fn", [None, 3, "sum"])
def test_not_callable(fn):
    with pytest.raises(TypeError, match="not callable"):
        check_callable(fn)


@pytest.mark.parametrize(
    "fn", [plain, sum, dict, "a".join, operator.itemgetter(1), functools.partial(plain, 1), Answers(), Answers]
)
def test_callable(fn):
    check_callable(fn)


def test_code_vouches_for_functions_with_it():
    assert check_callable(plain) is plain.__code__


def test_nothing_vouches_for_others():
    def wraps(function):
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            return function(*args, **kwargs)

        return wrapper

    wrapper = wraps(plain)
    assert check_callable(wrapper) is not wrapper.__code__
    assert check_callable(sum) is not None
