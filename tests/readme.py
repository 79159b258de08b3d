"""The programs of the README and what they print: run by a test, and by ``make wheel`` with the wheel alone in an empty environment.

python tests/readme.py
"""

import contextlib
import io
import os
import pathlib
import re
from importlib.metadata import version

README = pathlib.Path(__file__).parent.parent / "README.md"
NUMBERS = re.compile(r"[-+]?\d+\.\d+")


def programs(text):
    """Each program and what it is said to print."""
    found = re.findall(r"```python\n(.*?)```\n\nprints\n\n```\n(.*?)```", text, flags=re.DOTALL)
    assert len(found) == text.count("```python") > 0
    return found


def check(code, said):
    """The words, and the numbers to the digits that another compiler may round otherwise."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(code, {})
    assert NUMBERS.sub("#", out.getvalue()) == NUMBERS.sub("#", said), out.getvalue()
    for got, number in zip(NUMBERS.findall(out.getvalue()), NUMBERS.findall(said), strict=True):
        assert abs(float(got) - float(number)) < 0.005, (got, number)


def main():
    if version("jaxlib").startswith("0.10."):
        os.environ["XLA_FLAGS"] = "--xla_cpu_experimental_ynn_fusion_type="
    import jax_scorefn

    where = pathlib.Path(jax_scorefn.__file__).parent
    assert where.parent != README.parent, f"{where} is the source, not what was installed"
    assert all((where / name).exists() for name in ("py.typed", "estimators/__init__.pyi", "random/__init__.pyi"))
    found = programs(README.read_text())
    for code, said in found:
        check(code, said)
    print(
        f"jax_scorefn {jax_scorefn.__version__} from {where}: {len(found)} programs of the README print what they say"
    )


if __name__ == "__main__":
    main()
