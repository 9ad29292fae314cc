"""How functions are pickled."""

from __future__ import annotations

import sys


def cloudpickle_register(ind: int = 2) -> None:
    """Have the functions of a calling module pickled by value rather than by name.

    The worker then needs no copy of that module. A module that cannot be found, such as a notebook, is left alone:
    its functions are pickled by value anyway.

    Parameters:
        ind (int): which caller: 1 is who calls this function, 2, the default, is who calls that one, and so on; if
            there are not as many, the outermost.

    Example:
        >>> from executorlib.api import cloudpickle_register
        >>> cloudpickle_register(ind=1)
    """
    import cloudpickle

    frame = sys._getframe()
    for _ in range(ind):
        if frame.f_back is None:
            break
        frame = frame.f_back
    module = sys.modules.get(frame.f_globals.get("__name__", ""))
    if module is not None:
        cloudpickle.register_pickle_by_value(module)
