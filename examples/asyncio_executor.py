"""Await calls from an asyncio program.

``loop.run_in_executor`` takes any ``concurrent.futures`` executor. The event loop keeps running while the
workers compute: here it counts its own turns in the meantime.
"""

import asyncio
import sys

from executorlib import SingleNodeExecutor


def count_primes(limit):
    return sum(all(n % divisor for divisor in range(2, int(n**0.5) + 1)) for n in range(2, limit))


async def count_turns(until):
    turns = 0
    while not until.done():
        turns += 1
        await asyncio.sleep(0)
    return turns


async def compute(limits):
    loop = asyncio.get_running_loop()
    with SingleNodeExecutor(max_workers=2, block_allocation=True) as exe:
        counts = asyncio.gather(*(loop.run_in_executor(exe, count_primes, limit) for limit in limits))
        turns = await count_turns(until=counts)
        wrapped = await asyncio.wrap_future(exe.submit(count_primes, 100))
        return await counts, turns, wrapped


def main():
    limits = [10_000, 20_000, 30_000]
    counts, turns, wrapped = asyncio.run(compute(limits))
    if counts != [count_primes(limit) for limit in limits] or wrapped != 25:
        print(f"FAILED: {counts} and {wrapped}", file=sys.stderr)
        return 1
    if turns < 2:
        print("FAILED: the event loop was blocked", file=sys.stderr)
        return 1
    print(f"asyncio: primes below {limits}: {counts}")
    print(f"the event loop turned {turns:,} times meanwhile")
    return 0


if __name__ == "__main__":
    sys.exit(main())
