"""The program of a worker that is one process:

    python interactive_serial.py --zmqport NUMBER [--host HOST] [--worker-id ID]

Nothing in the arguments is secret; `rendezvous.py` says where the secret is. The host is for people to read.
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":  # any Python, with or without this package: the folder is one of its own
    from types import ModuleType

    _here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != _here]
    __package__ = "_executorlib_backend"
    sys.modules[__package__] = ModuleType(__package__)
    sys.modules[__package__].__path__ = [_here]

from . import calls, driver


def evaluate_cmd(argument_lst: list[str] | None = None) -> None:
    """Serve a driver until it says that this is the end, or ends itself.

    Parameters:
        argument_lst (list[str] | None): the command line; None means that of this process.

    Raises:
        OSError: if no driver waits under that number.
    """
    serve(calls.parse_arguments(sys.argv if argument_lst is None else argument_lst), is_program=False)


def serve(arguments: dict, is_program: bool) -> None:
    connection = driver.connect(arguments["zmqport"])
    try:
        watch = driver.Watch(connection, group=True) if is_program else None
        calls.import_from_cwd()
        session = calls.Session(int(arguments["worker_id"]))
        kind = calls.CALL
        while kind != calls.SHUTDOWN:
            kind, answer = session.answer(connection.recv())
            if watch and kind == calls.SHUTDOWN:
                watch.call_off()
            connection.send(answer)
    except EOFError:
        pass  # the driver has ended without a word
    finally:
        connection.close()


if __name__ == "__main__":
    serve(calls.parse_arguments(sys.argv), is_program=True)
