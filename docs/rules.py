"""The part of rules.md that is made of the rules themselves: their docstrings, names, and what they are linear in.

python docs/rules.py            write it anew; a test compares
"""

import ast
import re
import sys
from pathlib import Path

from jax_scorefn.programs import RULES

PAGE = Path(__file__).with_name("rules.md")
BEGIN, END = "% made by docs/rules.py: the families\n", "% made by docs/rules.py: the end\n"
EXAMPLE = re.compile(r"Example: (.*?), (\w+: .*)\n\s*Maps: (.*)")
OPERAND = re.compile(r"(\w+): (?:(\w+) )?(\([^)]*\))")


def families():
    """Function of a rule -> what it is linear in -> names of primitives."""
    found = {}
    for name, rule in RULES.items():
        found.setdefault(rule.function, {}).setdefault(rule.linear, []).append(name)
    return found


def example(function):
    """Code, operands as {name: (kind or "", shape)}, and the maps that it is said to have."""
    code, operands, maps = EXAMPLE.search(function.__doc__).groups()
    shapes = {name: (kind, ast.literal_eval(shape)) for name, kind, shape in OPERAND.findall(operands)}
    return code, shapes, eval(maps, {"inf": float("inf")})


def linear_words(linear):
    match linear:
        case None:
            return ""
        case "together":
            return ", linear in all operands together"
        case "each":
            return ", linear in each operand while the others are stopped"
        case int():
            return f", linear in operand {linear}"
        case tuple():
            return f", linear in operands {' and '.join(map(str, linear))} together"
    words = linear.__doc__.rstrip(".")
    return f", linear in {words[0].lower()}{words[1:]}"


def section(function, names):
    title, _, rest = function.__doc__.partition("\n")[0].partition(": ")
    code, operands, maps = EXAMPLE.search(function.__doc__).groups()
    known = [", ".join(f"`{n}`" for n in sorted(some)) + linear_words(linear) for linear, some in names.items()]
    return (
        f"### {title}\n\n{rest[0].upper()}{rest[1:]}\n\n"
        f"```text\n{code}     {operands}\n{maps}\n```\n\n" + "".join(f"* {line}.\n" for line in sorted(known)) + "\n"
    )


def made():
    """The text between the two marks."""
    ordered = sorted(families().items(), key=lambda pair: (pair[0].__module__, pair[0].__code__.co_firstlineno))
    return BEGIN + "\n" + "".join(section(*pair) for pair in ordered) + END


def of_page():
    """What stands there now."""
    text = PAGE.read_text()
    return text[text.index(BEGIN) : text.index(END) + len(END)]


if __name__ == "__main__":
    PAGE.write_text(PAGE.read_text().replace(of_page(), made()))
    sys.exit()
