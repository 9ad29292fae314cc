"""`python -m executorlib`: the command where its script is not in PATH."""

import sys

from executorlib._cli import main

if __name__ == "__main__":
    sys.exit(main())
