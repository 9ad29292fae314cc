"""split_future and get_item_from_future."""

from concurrent.futures import Future

from executorlib import SingleNodeExecutor, get_item_from_future, split_future


def pair():
    return "a", 2


def table():
    return {"x": 1, "y": [1, 2]}


def nothing():
    return None


def join(*values):
    return "-".join(map(str, values))


if __name__ == "__main__":
    with SingleNodeExecutor(block_allocation=True, max_workers=1) as exe:
        first, second, third = split_future(exe.submit(pair), n=3)
        print(isinstance(first, Future), first.result(), second.result(), first.done())
        try:
            third.result()
        except IndexError as error:
            print(type(error).__name__)
        source = exe.submit(table)
        y = get_item_from_future(source, key="y")
        print(y.result(), get_item_from_future(source, key="x").result(), split_future(y, 2)[1].result())
        try:
            get_item_from_future(source, key="z").result()
        except KeyError as error:
            print(type(error).__name__, error)
        print([part.result() for part in split_future(exe.submit(nothing), 2)])
        print(exe.submit(join, first, second, get_item_from_future(source, key="x")).result())
