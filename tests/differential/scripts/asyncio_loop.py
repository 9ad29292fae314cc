"""The executor of an event loop."""

import asyncio

from executorlib import SingleNodeExecutor


def add(a, b):
    return a + b


async def main():
    with SingleNodeExecutor(block_allocation=True, max_workers=2) as exe:
        loop = asyncio.get_running_loop()
        print(await asyncio.gather(*(loop.run_in_executor(exe, add, n, 1) for n in range(4))))
        print(await asyncio.wrap_future(exe.submit(add, 1, b=2)))


if __name__ == "__main__":
    asyncio.run(main())
