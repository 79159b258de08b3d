"""Other systems on the problems that all share: what their gradients cost, and what each gets wrong.

Each runs in an environment of its own, which is made first. It takes turns with ours, block by block of calls, so that both meet the
same machine: a round's ratio is that of the blocks' medians, and what is reported is the median of the rounds with the lowest and the
highest. Ours runs beside a peer under the peer's own JAX where that can be; where not, the row says so.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.peers import environments
from benchmarks.peers.problems import NAMES
from benchmarks.report import figures
from benchmarks.settings import Settings
from benchmarks.shown import Cell, Column, Figure, Finding, Part, Section, Table, num
from benchmarks.studies.peers._measure import measure
from benchmarks.study import Records, Study, Task
from benchmarks.words import listed, number, plural, times as in_words

WRONG = 5.0
"""Standard errors from the exact gradient: a gradient that is further off is wrong."""


def tasks(settings: Settings) -> list[Task]:
    """One for each peer."""
    return [Task(peer, lambda peer=peer: measure(peer, settings), {"peer": peer}) for peer in every()]


def every() -> list[str]:
    """All peers: plain JAX first."""
    return ["by_hand", *environments.names()]


def bias(row: dict[str, Any], exact: np.ndarray) -> float:
    """Distance of a mean gradient from the exact one, in standard errors: the largest of what is compared; rounding is allowed for."""
    error = np.hypot(np.asarray(row["standard_error"]), 2e-6 * np.max(np.abs(exact)))
    return float(np.max(np.abs(np.asarray(row["mean"]) - exact) / error))


def sections(records: Records, settings: Settings) -> list[Section]:
    """A table of the workloads, one of programs, and what was found wrong."""
    del settings
    from benchmarks.studies.peers._exact import exact

    there = {peer: row for peer, row in records.below("").items() if "failed" not in row}
    left_out = {peer: row["failed"] for peer, row in records.below("").items() if "failed" in row}
    for row in there.values():
        left_out |= {
            f"{row['system']} on {name}": one["failed"] for name, one in row["problems"].items() if "failed" in one
        }
    rows = []
    for name in NAMES:
        of = [
            (row, row["problems"][name])
            for row in there.values()
            if "failed" not in row["problems"].get(name, {"failed": ""})
        ]
        if of:
            truth = exact(name)
            rows += [(name, row, one, truth) for row, one in of]
    if not rows:
        return [
            Section(
                "none",
                "No other system was measured",
                [Table("peers", "Other systems", [Column("system")], [], left_out)],
            )
        ]
    parts: list[Part] = [str(__doc__).partition("\n\n")[2].replace("\n", " "), *_findings(rows)]
    alt = "Variance times time of the gradient in each system, relative to jax_scorefn"
    parts.append(Figure("peers", alt, lambda theme: _figure(rows, theme)))
    parts.append(_table(rows, left_out))
    return [Section("all", "Other systems", parts)]


def _note(row: dict[str, Any], name: str) -> str:
    """What a peer says of itself on a problem."""
    return str(row["notes"].get(name, row["notes"].get("", "")))


def _work(one: dict[str, Any]) -> float:
    """Variance x time in units of ours."""
    return one["theirs"]["variance"] / one["ours"]["variance"] * one["ratio"]


def _findings(rows: list[Any]) -> list[Finding]:
    wrong = [
        (name, row, bias(one["theirs"], truth)) for name, row, one, truth in rows if bias(one["theirs"], truth) > WRONG
    ]
    ours = max(bias(one["ours"], truth) for _, _, one, truth in rows)
    told = [
        f"{row['system']} on {name} ({z:.0f} standard errors: {_note(row, name) or 'why is open'})"
        for name, row, z in wrong
    ]
    said = listed(told) if told else "none"
    text = f"Gradients of other systems that are not the exact one: {said}. Ours is at most {ours:.1f} standard errors away."
    found = [
        Finding(str(len(wrong)), "wrong gradients in other systems", text, alarm=ours > WRONG, first=4 if wrong else 0)
    ]
    behind = [(name, row, _work(one)) for name, row, one, _ in rows if _work(one) < 0.95]
    text = f"Variance × time of others in units of ours: the median of {plural(len(rows), 'row')} is "
    text += f"{in_words(float(np.median([_work(one) for *_, one, _ in rows])))}."
    if behind:
        told = listed(
            [
                f"{row['system']} on {name} ({work:.2f}: {_note(row, name) or 'why is open'})"
                for name, row, work in behind
            ]
        )
        text += f" Ahead of us: {told}."
    figure = f"{len(rows) - len(behind)} of {len(rows)}"
    return [*found, Finding(figure, "rows in which ours is ahead, or within 5 %", text)]


def _table(rows: list[Any], left_out: dict[str, str]) -> Table:
    columns = (
        Column("problem"),
        Column("system", words=True),
        Column("variance × time|× ours", "What it takes for the same precision.", best=True),
        Column("variance|of a call"),
        Column("× ours"),
        Column("µs of a call"),
        Column("× ours"),
        Column(
            "MiB|of a call",
            "Peak of the process over what it had before the problem was opened: compiled code and what the allocator keeps count.",
        ),
        Column("MiB,|ours"),
        Column(
            "bias z",
            "Distance of the mean from the exact gradient, in standard errors: the largest over entries or directions.",
        ),
        Column("bias z,|ours"),
        Column("calls"),
    )
    cells = []
    for name, row, one, truth in rows:
        theirs, ours, z = one["theirs"], one["ours"], bias(one["theirs"], truth)
        cells.append(
            (
                Cell(name),
                Cell(
                    row["system"],
                    below="; ".join(filter(None, [_note(row, name), "" if row["same"] else "ours under another JAX"])),
                ),
                num(_work(one)),
                num(theirs["variance"], error=theirs["variance_error"]),
                num(theirs["variance"] / ours["variance"]),
                num(theirs["microseconds"]),
                Cell(
                    number(one["ratio"]),
                    one["ratio"],
                    below=f"{number(one['ratio_low'])} – {number(one['ratio_high'])}",
                ),
                num(theirs["mib"]),
                num(ours["mib"]),
                num(z, 2, mark="biased" if z > WRONG else ""),
                num(bias(ours, truth), 2),
                num(theirs["count"]),
            )
        )
    return Table("peers", "Other systems, in units of ours", columns, cells, left_out)


def _figure(rows: list[Any], theme: figures.Theme) -> Any:
    from matplotlib import pyplot as plt

    problems = list(dict.fromkeys(name for name, *_ in rows))
    systems = list(dict.fromkeys(row["system"] for _, row, *_ in rows))
    figure, ax = plt.subplots(figsize=(10.5, 1.6 + 0.36 * len(problems)))
    ax.axvline(1.0, color=theme.soft, lw=1.4)
    for place, system in enumerate(systems):
        of = [(problems.index(name), _work(one)) for name, row, one, _ in rows if row["system"] == system]
        ys, xs = zip(*of, strict=True)
        ax.scatter(
            xs,
            ys,
            s=60,
            marker=figures.marker(place),
            color=figures.shade(place),
            edgecolor=theme.paper,
            lw=0.9,
            zorder=3,
            label=system,
        )
    ax.set_xscale("log")
    ax.set_ylim(len(problems) - 0.5, -0.5)
    low, high = ax.get_xlim()
    ax.set_xlim(min(low, 0.5), max(high, 20))
    figures.log_ticks(ax)
    ax.set_yticks(range(len(problems)), problems)
    ax.set_xlabel("variance × time relative to jax_scorefn   (1 is ours; further right is worse)")
    figure.legend(loc="outside upper left", ncols=2, handletextpad=0.2, columnspacing=1.6, fontsize=8.5)
    return figure


STUDY = Study(
    name="peers",
    title="Other systems",
    about="The same problems in other systems, each in an environment of its own (minutes, and a network)",
    tasks=tasks,
    sections=sections,
    axes={"peer": dict.fromkeys(every(), "")},
)
