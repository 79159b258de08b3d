"""The tables of README.md that are made of what the library says of itself: its estimators, and its distributions.

python docs/tables.py           write them anew; a test compares
"""

import itertools
from pathlib import Path

import jax_scorefn as sf
from jax_scorefn._checks import CAPABILITY_WORDS
from jax_scorefn.estimators._docstring import ONE_DRAW, TAKEN_FOR_GRANTED
from jax_scorefn.typing import Capability

PAGE = Path(__file__).parents[1] / "README.md"
WORDS = CAPABILITY_WORDS | {
    Capability.SAMPLE: "draws",
    Capability.SUPPORT: "a support",
}
FIRST = ("score_function", "pathwise", "exact")
IMPLIED = {Capability.FINITE: Capability.SUPPORT, Capability.RELAXED: Capability.CHOICES}


def needs(record):
    """What is asked of the distribution beside what each has, in words; and of f."""
    wanted = [need for need in record.needs if need not in TAKEN_FOR_GRANTED]
    wanted = [
        need for need in wanted if not any(implied == need and flag in wanted for flag, implied in IMPLIED.items())
    ]
    words = [
        " or ".join(text.partition(" (")[0] for flag, text in WORDS.items() if flag in need) for need in wanted
    ] or ["any"]
    return " and ".join(words) + (" (and a differentiable f)" if record.differentiates_f else "")


def orders(record):
    return {float("inf"): "every order", 1: "first", 2: "up to second"}[record.orders]


def estimators():
    facts = lambda record: (FIRST.index(record.name) if record.name in FIRST else len(FIRST), str(record.estimates), needs(record),
                            str(record.bias), orders(record))  # fmt: skip
    rows = ["| estimator | of | the distribution needs | bias | derivatives |", "|---|---|---|---|---|"]
    for (_, of, wanted, bias, order), group in itertools.groupby(sorted(sf.ESTIMATORS.values(), key=facts), key=facts):
        names = ", ".join(f"`{record.name}`" for record in sorted(group, key=lambda record: record.name))
        rows.append(f"| {names} | {of} | {wanted} | {bias} | {order} |")
    return "\n".join(rows) + "\n"


def distributions():
    listed = {n: Capability.SUPPORT in kind.also for n, kind in ONE_DRAW.items() if hasattr(sf, n)}
    row = lambda discrete: ", ".join(f"`{n}`" for n, is_discrete in sorted(listed.items()) if is_discrete == discrete)
    return (
        f"* Discrete: {row(True)}.\n* Continuous: {row(False)}.\n"
        "* Made of others: `Mixture` (one of several), `Joint` (several independent ones).\n"
    )


TABLES = {"estimators": estimators, "distributions": distributions}


def part(text, name):
    """What stands between the marks of a table, with what is before and behind."""
    begin, end = f"<!-- docs/tables.py: {name} -->\n", f"<!-- docs/tables.py: end of {name} -->\n"
    before, rest = text.split(begin)
    found, behind = rest.split(end)
    return before + begin, found, end + behind


if __name__ == "__main__":
    for name, made in TABLES.items():
        before, _, behind = part(PAGE.read_text(), name)
        PAGE.write_text(f"{before}\n{made()}\n{behind}")
