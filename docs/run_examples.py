"""Each example as a script, as its head says: in an environment with the wheel and what its line installs, and nothing else.

python docs/run_examples.py dist/jax_scorefn-*.whl [NAME ...]     all of them, or some; exits with 1 if one fails
"""

import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

EXAMPLES = Path(__file__).parent / "examples"
LINE = re.compile(r"^# As a script: `pip install (.*?)`, then `python (.*?)`\.", re.MULTILINE)


def run(example, wheel, folder):
    """What it printed, and how it ended."""
    (wanted, script), quiet = LINE.search(example.read_text()).groups(), ["--quiet", "--disable-pip-version-check"]
    assert script == example.name, f"{example} says that it is {script}"
    packages = [re.sub(r"^jax_scorefn", str(wheel), package) for package in shlex.split(wanted)]
    venv.create(folder / "env", with_pip=True)
    python = folder / "env" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", *quiet, *packages], check=True, stderr=subprocess.DEVNULL)
    (folder / script).write_text(example.read_text())
    environment = {**os.environ, "MPLBACKEND": "Agg", "PYTHONPATH": ""}
    return subprocess.run([python, script], cwd=folder, env=environment, capture_output=True, text=True)


def main(wheel, *names):
    failed = []
    for example in sorted(EXAMPLES.glob("*.py")):
        if names and example.stem not in names:
            continue
        with tempfile.TemporaryDirectory() as folder:
            start = time.time()
            done = run(example, Path(wheel).resolve(), Path(folder))
        print(f"{example.stem:16s} {'failed' if done.returncode else 'ran'} in {time.time() - start:.0f} s", flush=True)
        if done.returncode:
            failed.append(example.stem)
            print(done.stdout[-2000:], done.stderr[-4000:])
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
