"""Run a pipefunc pipeline on executorlib.

Every element of ``x`` becomes one call of ``f`` and one of ``g``. First a single executor serves the whole
pipeline, then each output has an executor of its own; both must give what the serial run gives.
"""

import sys
import time

from pipefunc import Pipeline, pipefunc

from executorlib import SingleNodeExecutor


@pipefunc(output_name="y", mapspec="x[i] -> y[i]")
def f(x):
    return x**2


@pipefunc(output_name="z", mapspec="y[i] -> z[i]")
def g(y):
    return y + 1


pipeline = Pipeline([f, g])
inputs = {"x": [1, 2, 3]}


def map_serial():
    return pipeline.map(inputs, parallel=False)["z"].output.tolist()


def map_on(executor):
    return pipeline.map(inputs, executor=executor)["z"].output.tolist()


def map_on_executor():
    with SingleNodeExecutor() as exe:
        return map_on(exe)


def map_on_executor_per_output():
    with SingleNodeExecutor(max_workers=2) as exe_y, SingleNodeExecutor(max_workers=4) as exe_z:
        return map_on({"y": exe_y, "z": exe_z})


def main():
    expected = map_serial()
    start = time.perf_counter()
    single = map_on_executor()
    seconds = time.perf_counter() - start
    per_output = map_on_executor_per_output()
    if not single == per_output == expected:
        print(f"FAILED: {single} and {per_output}, expected {expected}", file=sys.stderr)
        return 1
    print(f"pipefunc: z = {single} from x = {inputs['x']} in {seconds:.3f} s")
    print("one executor, and one for each output: both identical to the serial run")
    return 0


if __name__ == "__main__":
    sys.exit(main())
