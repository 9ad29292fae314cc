"""batched() over a whole number of batches (a short last batch hangs on the reference)."""

from executorlib import SingleNodeExecutor


def identity(x):
    return x


if __name__ == "__main__":
    with SingleNodeExecutor(block_allocation=True, max_workers=2) as exe:
        futures = [exe.submit(identity, n) for n in range(6)]
        batches = exe.batched(futures, n=3)
        results = [batch.result() for batch in batches]
        print(len(batches), [len(batch) for batch in results], sorted(n for batch in results for n in batch))
        totals = [exe.submit(sum, batch) for batch in exe.batched(futures, n=2)]
        print(len(totals), sum(total.result() for total in totals))
