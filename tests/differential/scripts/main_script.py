"""No guard: the script's top level runs once, and its functions and classes travel by value."""

from executorlib import SingleNodeExecutor

print("top level")
FACTOR = 3


class Pair:
    def __init__(self, a, b):
        self.a, self.b = a, b

    def swap(self):
        return Pair(self.b, self.a)


def triple(x):
    return FACTOR * x


exe = SingleNodeExecutor()
pair = exe.submit(Pair(1, 2).swap).result()
print(exe.submit(triple, 2).result(), exe.submit(lambda x: x + FACTOR, 1).result())
print(type(pair).__name__, pair.a, pair.b)
exe.shutdown()
exe.shutdown()
