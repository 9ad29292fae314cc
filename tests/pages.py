"""Pages of the documentation as scripts: their Python blocks one after the other, and what these print."""

import re

import support

DOCS = support.TESTS.parent / "docs"
_BLOCK = re.compile(r"(?<!not run -->\n)^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PRINTED = re.compile(r"^ *print\(.*\) {2,}# (.*)$", re.MULTILINE)


def script_of(page):
    return "".join(_BLOCK.findall(page.read_text()))


def run(page, folder):
    """Run the page's script: each `print` of it must print what the comment behind it says."""
    script = script_of(page)
    done = support.run_script(folder, script, timeout=50 * support.TIME_FACTOR)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines() == _PRINTED.findall(script)
