"""log_obj_size: which lines appear (the sizes themselves depend on the message format)."""

import logging

from executorlib import SingleNodeExecutor


class Collect(logging.Handler):
    def emit(self, record):
        messages.append((record.name, record.levelname, record.getMessage().rstrip("0123456789")))


messages = []
logging.getLogger("executorlib").addHandler(Collect())
logging.getLogger("executorlib").propagate = False

if __name__ == "__main__":
    with SingleNodeExecutor(block_allocation=True, max_workers=1, log_obj_size=True) as exe:
        print(exe.submit(sum, [1, 2, 3]).result())
    print(sorted(set(messages)))
