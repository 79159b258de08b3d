"""Findings: sentences made out of the measured numbers, each left out where its numbers are not there."""

from __future__ import annotations

import statistics

from benchmarks.shown import Finding
from benchmarks.studies.estimators._rows import Cells, Part, Row
from benchmarks.studies.estimators.methods import BASE
from benchmarks.words import listed, number, plural, times


def findings(cells: Cells) -> list[Finding]:
    """What this run found, the most useful first."""
    makers = (_bias, _baseline, _pathwise, _reduction, _theory, _exact, _time)
    return [finding for make in makers if (finding := make(cells)) is not None]


def _of(cells: Cells, row: Row) -> Part:
    return next(part for part in cells.parts if part.problem.name == row.problem.name)


def _pairs(cells: Cells, method: str, other: str) -> list[tuple[Part, Row, Row]]:
    pairs = [(part, part.row(method), part.row(other)) for part in cells.parts]
    return [(part, a, b) for part, a, b in pairs if a and b and a.noisy and b.noisy]


def _bias(cells: Cells) -> Finding | None:
    honest = [row for row in cells.measured if not row.method.biased]
    if not honest:
        return None
    bad = [row for row in honest if cells.flagged(row)]
    declared = [row for row in cells.measured if row.method.biased]
    seen = [row for row in declared if cells.flagged(row)]
    text = (
        f"{listed([f'{row.method.label} on {row.problem.title}' for row in bad])} "
        f"{'lies' if len(bad) == 1 else 'lie'} further from the reference than chance allows."
        if bad
        else f"No cell that is declared unbiased lies further from its reference than chance allows: the largest of "
        f"{plural(len(honest), 'cell')} is {max(row.z for row in honest):.1f} standard errors away, and the limit "
        f"for so many "
        f"coordinates is {cells.threshold:.1f}."
    )
    if declared:
        count = plural(len(declared), "cell")
        text += f" The bias that is declared of {declared[0].method.label} shows in {len(seen)} of {count}."
    return Finding(str(len(bad)), "undeclared biases", text, alarm=bool(bad))


def _baseline(cells: Cells) -> Finding | None:
    pairs = _pairs(cells, BASE, "score-loo")
    if not pairs:
        return None
    gains = sorted(((plain.variance / loo.variance, part) for part, plain, loo in pairs), key=lambda pair: pair[0])
    most, part = gains[-1]
    text = (
        f"On {part.title} the leave-one-out baseline divides the variance of the score function by {times(most)}. "
        f"Over {plural(len(gains), 'problem')} the median is {times(statistics.median(gain for gain, _ in gains))}."
    )
    worse = [f"{s.title} ({(1 / gain - 1) * 100:.0f} % more)" for gain, s in gains if gain < 0.995]
    if worse:
        text += f" It is not free: with so few draws it raises the variance on {listed(worse)}."
    return Finding(f"{times(most)}×", "less variance, leave-one-out", text)


def _pathwise(cells: Cells) -> Finding | None:
    pairs = _pairs(cells, "score-loo", "pathwise")
    if not pairs:
        return None
    wins = [(part, loo.variance / path.variance) for part, loo, path in pairs if path.variance < loo.variance]
    losses = [(part, path.variance / loo.variance) for part, loo, path in pairs if path.variance >= loo.variance]
    text = ""
    if wins:
        part, gain = max(wins, key=lambda pair: pair[1])
        text = f"Where it applies, pathwise beats leave-one-out by up to {times(gain)} times (on {part.title})."
    if losses:
        text += " But it is not always the best: " if wins else "Pathwise is not always the best: "
        text += listed([f"{times(ratio)} times the variance on {part.title}" for part, ratio in losses]) + "."
    return Finding(f"{len(wins)} of {len(pairs)}", "won by pathwise", text.strip())


REDUCTIONS = (
    "score-best",
    "score-delta",
    "double-cv",
    "score-antithetic",
    "score-sobol",
    "score-strata",
    "score-proposal",
)


def _reduction(cells: Cells) -> Finding | None:
    """What the options of the score function bring over leave-one-out: the most for each, and the least of all."""
    gains = [
        (loo.variance / row.variance, part, row)
        for part in cells.parts
        if (loo := part.row("score-loo"))
        for row in part.measured
        if row.method.name in REDUCTIONS and row.noisy
    ]
    if not gains:
        return None
    parts, most = [], 0.0
    for name in ("score-sobol", "score-proposal", "score-delta"):
        gain, part, row = max(
            (g for g in gains if g[2].method.name == name), key=lambda g: g[0], default=(0, None, None)
        )
        if part and row and gain > 1:
            parts.append(f"{row.method.label.removeprefix('score, ')} by {times(gain)} on {part.title}")
            most = max(most, gain)
    if not parts:
        return None
    least = min(gains, key=lambda g: g[0])
    text = f"Less variance than leave-one-out: {listed(parts)}."
    free = [s.title for s in cells.parts if (loo := s.row("score-loo")) and (d := s.row("score-delta")) and not d.noisy]
    if free:
        text += f" The delta method leaves nothing on {listed(free)}, where f is a quadratic."
    if least[0] < 1:
        text += f" None of them is always right: {least[2].method.label} has {times(1 / least[0])} times more on {least[1].title}."
    return Finding(f"{times(most)}×", "less variance than leave-one-out", text)


def _theory(cells: Cells) -> Finding | None:
    rows = [row for row in cells.measured if row.variance_known and row.variance_error > 0]
    if not rows:
        return None
    worst = max(rows, key=lambda row: abs(row.variance / row.variance_known - 1))
    sigmas = max(abs(row.variance - row.variance_known) / row.variance_error for row in rows)
    return Finding(
        f"{max(abs(row.variance / row.variance_known - 1) for row in rows) * 100:.1f} %",
        "largest distance from theory",
        f"{plural(len(rows), 'cell')} have a variance that can be worked out on paper. The measured ones agree "
        f"with it: the "
        f"furthest is {worst.method.label} on {_of(cells, worst).title}, and none is more than "
        f"{sigmas:.1f} of its "
        f"standard errors away.",
    )


def _exact(cells: Cells) -> Finding | None:
    cheap = []
    for part in cells.parts:
        exact, base = part.row("exact"), part.base
        if exact and base and exact.microseconds <= 1.25 * base.microseconds:
            cheap.append((base.microseconds / exact.microseconds, part, exact, base))
    if not cheap:
        return None
    ratio, part, exact, base = max(cheap, key=lambda item: item[0])
    return Finding(
        f"{exact.microseconds:,.0f} µs".replace(",", "\u2009"),
        "for an exact gradient",
        f"Where the support is small, summing is better than drawing: on {part.title} the exact gradient takes "
        f"{number(exact.microseconds)} µs, {times(ratio)} times less than {base.draws} draws "
        f"({number(base.microseconds)} µs), and has no variance.",
    )


def _time(cells: Cells) -> Finding | None:
    ratios = []
    for part in cells.parts:
        random = [row for row in part.measured if row.noisy and not row.method.biased]
        if len(random) >= 2:
            best, worst = min(random, key=lambda row: row.work), max(random, key=lambda row: row.work)
            ratios.append((worst.work / best.work, part, best, worst))
    if not ratios:
        return None
    ratio, part, best, worst = max(ratios, key=lambda item: item[0])
    middle = statistics.median(item[0] for item in ratios)
    return Finding(
        f"{times(ratio)}×",
        "between best and worst, per second",
        f"The choice of estimator matters more than its speed. For the same precision on {part.title}, "
        f"{worst.method.label} needs {times(ratio)} times the computing time of {best.method.label}; over the "
        f"problems the median "
        f"gap is {times(middle)}.",
    )
