"""Whether pyright finds in ``user.py`` just what is marked there: ``python tests/typed/check.py``, a part of ``make types``."""

import json
import pathlib
import subprocess
import sys

USER = pathlib.Path(__file__).with_name("user.py")


def main():
    command = [pathlib.Path(sys.executable).with_name("pyright"), "--pythonpath", sys.executable, "--outputjson", USER]
    told = json.loads(subprocess.run(command, capture_output=True, text=True).stdout)["generalDiagnostics"]
    found = {one["range"]["start"]["line"] + 1 for one in told if one["severity"] == "error"}
    lines = USER.read_text().splitlines()
    wrong = {i + 1 for i, line in enumerate(lines) if line.endswith("# wrong")}
    for i in sorted(found ^ wrong):
        print(f"{USER}:{i}: {'no mistake found' if i in wrong else 'taken for a mistake'}: {lines[i - 1]}")
    print(f"{len(found & wrong)} of {len(wrong)} mistakes found")
    return int(found != wrong or not wrong)


if __name__ == "__main__":
    sys.exit(main())
