"""Subclasses and mixins with cooperative __init__ and submit."""

from executorlib import BaseExecutor, SingleNodeExecutor


class Mixin(BaseExecutor):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.seen = 0

    def submit(self, fn, /, *args, **kwargs):
        self.seen += 1
        return super().submit(fn, *args, **kwargs)


def add(a, b):
    return a + b


if __name__ == "__main__":
    print(SingleNodeExecutor.__module__, BaseExecutor.__module__)
    for made in (type("Made", (Mixin, SingleNodeExecutor), {}), Mixin):
        if made is Mixin:
            continue
        with made(block_allocation=True, max_workers=1) as exe:
            print(exe.submit(add, 1, b=2).result(), exe.seen, isinstance(exe, BaseExecutor))
            print(list(exe.map(add, [1, 2], [3, 4])))
