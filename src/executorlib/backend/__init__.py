"""What a worker process of `executorlib.api` runs: plain Python and cloudpickle, in whichever environment it starts.

`interactive_serial.py` and `interactive_parallel.py` are its programs. They load this folder from where they are, so
the interpreter that runs them, 3.9 or newer, needs no executorlib of its own. Nothing here imports the package.
"""
