"""Copy the bars of docs/benchmarks.md into README.md, between its two benchmark marks."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BEGIN = "<!-- benchmarks: begin -->"
END = "<!-- benchmarks: end -->"


def section(report, heading):
    """The text below `## heading`, up to the next heading."""
    match = re.search(rf"^## {heading}\n+(.*?)\n*(?=^## |\Z)", report, re.MULTILINE | re.DOTALL)
    if match is None:
        raise ValueError(f"docs/benchmarks.md has no section {heading!r}")
    return match[1]


def main():
    report = (ROOT / "docs" / "benchmarks.md").read_text()
    machine = report.splitlines()[2]
    readme = ROOT / "README.md"
    before, _, rest = readme.read_text().partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        print("README.md has lost its benchmark marks", file=sys.stderr)
        return 1
    readme.write_text(f"{before}{BEGIN}\n\n{machine}\n\n{section(report, 'Bars')}\n\n{END}{after}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
