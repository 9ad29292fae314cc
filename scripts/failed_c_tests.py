"""Print which of the C tests that meson logged failed, and where: `failed_c_tests.py …/meson-logs/testlog.json`.

Short enough for whoever sees only the end of a log.
"""

import json
import sys

LINES_EACH = 8
TELLING = ("[  ERROR", "[   LINE", "[  FAILED")


def reason(test):
    """The lines of a test's output that say what failed, or else its last ones."""
    lines = (test.get("stdout", "") + "\n" + test.get("stderr", "")).splitlines()
    telling = [
        line
        for line in lines
        if line.startswith(TELLING) or "Assertion" in line or "Sanitizer" in line or "time limit" in line
    ]
    return telling[:LINES_EACH] or [line for line in lines if line][-LINES_EACH:]


def main(path):
    with open(path) as log:
        tests = [json.loads(line) for line in log]
    for test in tests:
        if test["is_fail"]:
            print(f"C test {test['name']}: {test['result']}, status {test['returncode']}, {test['duration']:.0f} s")
            print("\n".join(f"    {line[:200]}" for line in reason(test)))


if __name__ == "__main__":
    main(sys.argv[1])
