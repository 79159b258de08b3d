"""Findings: the few sentences that the report opens with, each made out of the measured numbers, or left out."""

from __future__ import annotations

import dataclasses
import statistics
from typing import Any

from benchmarks.discrete import VAE
from benchmarks.methods import BASE
from benchmarks.results import SAME_GRADIENT, Results, Row, Section
from benchmarks.words import listed, number, plural, times


@dataclasses.dataclass(frozen=True)
class Finding:
    """A number to see from afar, and the sentence that it stands for."""

    figure: str
    caption: str
    text: str
    alarm: bool = False


def findings(results: Results) -> list[Finding]:
    """What this run found, the most useful first."""
    makers = (
        _bias,
        _baseline,
        _pathwise,
        _reduction,
        _theory,
        _exact,
        _time,
        _speed,
        _credit,
        _peers,
        _cart_pole,
        _pendulum,
        _chess,
        _toy,
        _places,
        _race,
    )
    return [finding for make in makers if (finding := make(results)) is not None]


def _pairs(results: Results, method: str, other: str) -> list[tuple[Section, Row, Row]]:
    pairs = [(section, section.row(method), section.row(other)) for section in results.sections]
    return [(section, a, b) for section, a, b in pairs if a and b and a.noisy and b.noisy]


def _title(section: Section) -> str:
    return f"“{section.problem.title}”"


def _bias(results: Results) -> Finding | None:
    honest = [row for row in results.measured if not row.declared]
    if not honest:
        return None
    bad = [row for row in honest if results.flagged(row)]
    declared = [row for row in results.measured if row.declared]
    seen = [row for row in declared if results.flagged(row)]
    text = (
        f"{listed([f'{row.method.label} on {row.problem.title}' for row in bad])} "
        f"{'lies' if len(bad) == 1 else 'lie'} further from the reference than chance allows."
        if bad
        else f"No cell that is declared unbiased lies further from its reference than chance allows: the largest of "
        f"{plural(len(honest), 'cell')} is {max(row.z for row in honest):.1f} standard errors away, and the limit "
        f"for so many "
        f"coordinates is {results.threshold:.1f}."
    )
    if declared:
        cells = plural(len(declared), "cell")
        text += f" The bias that is declared of {declared[0].method.label} shows in {len(seen)} of {cells}."
    return Finding(str(len(bad)), "undeclared biases", text, alarm=bool(bad))


def _baseline(results: Results) -> Finding | None:
    pairs = _pairs(results, BASE, "score-loo")
    if not pairs:
        return None
    gains = sorted(
        ((plain.variance / loo.variance, section) for section, plain, loo in pairs), key=lambda pair: pair[0]
    )
    most, section = gains[-1]
    text = (
        f"On {_title(section)} the leave-one-out baseline divides the variance of the score function by {times(most)}. "
        f"Over {plural(len(gains), 'problem')} the median is {times(statistics.median(gain for gain, _ in gains))}."
    )
    worse = [f"{_title(s)} ({(1 / gain - 1) * 100:.0f} % more)" for gain, s in gains if gain < 0.995]
    if worse:
        text += f" It is not free: with so few draws it raises the variance on {listed(worse)}."
    return Finding(f"{times(most)}×", "less variance, leave-one-out", text)


def _pathwise(results: Results) -> Finding | None:
    pairs = _pairs(results, "score-loo", "pathwise")
    if not pairs:
        return None
    wins = [(section, loo.variance / path.variance) for section, loo, path in pairs if path.variance < loo.variance]
    losses = [(section, path.variance / loo.variance) for section, loo, path in pairs if path.variance >= loo.variance]
    text = ""
    if wins:
        section, gain = max(wins, key=lambda pair: pair[1])
        text = f"Where it applies, pathwise beats leave-one-out by up to {times(gain)} times (on {_title(section)})."
    if losses:
        text += " But it is not always the best: " if wins else "Pathwise is not always the best: "
        text += listed([f"{times(ratio)} times the variance on {_title(section)}" for section, ratio in losses]) + "."
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


def _reduction(results: Results) -> Finding | None:
    """What the options of the score function bring over leave-one-out: the most for each, and the least of all."""
    gains = [
        (loo.variance / row.variance, section, row)
        for section in results.sections
        if (loo := section.row("score-loo"))
        for row in section.measured
        if row.method.name in REDUCTIONS and row.noisy
    ]
    if not gains:
        return None
    parts, most = [], 0.0
    for name in ("score-sobol", "score-proposal", "score-delta"):
        gain, section, row = max(
            (g for g in gains if g[2].method.name == name), key=lambda g: g[0], default=(0, None, None)
        )
        if section and row and gain > 1:
            parts.append(f"{row.method.label.removeprefix('score, ')} by {times(gain)} on {_title(section)}")
            most = max(most, gain)
    if not parts:
        return None
    least = min(gains, key=lambda g: g[0])
    text = f"Less variance than leave-one-out: {listed(parts)}."
    free = [
        _title(s)
        for s in results.sections
        if (loo := s.row("score-loo")) and (d := s.row("score-delta")) and not d.noisy
    ]
    if free:
        text += f" The delta method leaves nothing on {listed(free)}, where f is a quadratic."
    if least[0] < 1:
        text += f" None of them is always right: {least[2].method.label} has {times(1 / least[0])} times more on {_title(least[1])}."
    return Finding(f"{times(most)}×", "less variance than leave-one-out", text)


def _theory(results: Results) -> Finding | None:
    rows = [row for row in results.measured if row.variance_known and row.variance_error > 0]
    if not rows:
        return None
    worst = max(rows, key=lambda row: abs(row.variance / row.variance_known - 1))
    sigmas = max(abs(row.variance - row.variance_known) / row.variance_error for row in rows)
    return Finding(
        f"{max(abs(row.variance / row.variance_known - 1) for row in rows) * 100:.1f} %",
        "largest distance from theory",
        f"{plural(len(rows), 'cell')} have a variance that can be worked out on paper. The measured ones agree "
        f"with it: the "
        f"furthest is {worst.method.label} on {_title(_section(results, worst))}, and none is more than "
        f"{sigmas:.1f} of its "
        f"standard errors away.",
    )


def _exact(results: Results) -> Finding | None:
    cheap = []
    for section in results.sections:
        exact, base = section.row("exact"), section.base
        if exact and base and exact.microseconds <= 1.25 * base.microseconds:
            cheap.append((base.microseconds / exact.microseconds, section, exact, base))
    if not cheap:
        return None
    ratio, section, exact, base = max(cheap, key=lambda item: item[0])
    return Finding(
        f"{exact.microseconds:,.0f} µs".replace(",", "\u2009"),
        "for an exact gradient",
        f"Where the support is small, summing is better than drawing: on {_title(section)} the exact gradient takes "
        f"{number(exact.microseconds)} µs, {times(ratio)} times less than {base.draws} draws "
        f"({number(base.microseconds)} µs), and has no variance.",
    )


def _time(results: Results) -> Finding | None:
    ratios = []
    for section in results.sections:
        random = [row for row in section.measured if row.noisy and not row.declared]
        if len(random) >= 2:
            best, worst = min(random, key=lambda row: row.work), max(random, key=lambda row: row.work)
            ratios.append((worst.work / best.work, section, best, worst))
    if not ratios:
        return None
    ratio, section, best, worst = max(ratios, key=lambda item: item[0])
    middle = statistics.median(item[0] for item in ratios)
    return Finding(
        f"{times(ratio)}×",
        "between best and worst, per second",
        f"The choice of estimator matters more than its speed. For the same precision on {_title(section)}, "
        f"{worst.method.label} needs {times(ratio)} times the computing time of {best.method.label}; over the "
        f"problems the median "
        f"gap is {times(middle)}.",
    )


def _speed(results: Results) -> Finding | None:
    speed = results.speed
    if not speed:
        return None
    closest = {system: speed.closest(system) for system in speed.systems}
    most = min(ratio for _, ratio in closest.values())
    told = listed(
        [f"{system} takes {times(ratio)} times as long ({name})" for system, (name, ratio) in closest.items()]
    )
    return Finding(
        f"{times(most)}×",
        "the time of ours, where another comes closest",
        f"The same gradient elsewhere, each on the workload that suits it best: {told}. The means of all agree within "
        f"{speed.apart:.1f} standard errors.",
        alarm=speed.apart > SAME_GRADIENT,
    )


def _credit(results: Results) -> Finding | None:
    plates, costs = results.credit.plates, results.credit.costs
    if not plates:
        return None
    first, last = plates[0], plates[-1]
    text = (
        f"Charging each choice with only what depends on it divides the variance of a plate's gradient by "
        f"{times(first['ratio'])} with {first['size']} pairs, by {times(last['ratio'])} with {last['size']}."
    )
    if costs:
        text += (
            f" A gradient takes {max(row['ratio'] for row in costs):.2f} of the time of one written by hand, at most."
        )
    return Finding(f"{times(first['ratio'])}×", "less variance, credit found by the compiler", text)


def _peers(results: Results) -> Finding | None:
    others = [row for rows in results.credit.peers.values() for row in rows if not row.is_ours]
    if not others:
        return None
    closest = {name: min(row.noise for row in rows[1:]) for name, rows in results.credit.peers.items() if len(rows) > 1}
    most = max(others, key=lambda row: row.noise)
    noise = listed([f"{number(ratio, 2)} ({name})" for name, ratio in closest.items()])
    slow = max(others, key=lambda row: row.slowness)
    return Finding(
        f"{times(most.noise)}×",
        "less variance than a peer, at most",
        f"{most.system} has {times(most.noise)} times our variance on {most.data['problem']}; the best other system has "
        f"{noise} times. All their means agree with ours within {max(row.apart for row in others):.1f} standard errors. "
        f"Times lie between {number(min(row.slowness for row in others), 2)} and {times(slow.slowness)} of ours.",
    )


def _cart_pole(results: Results) -> Finding | None:
    if (record := results.control.get("cart pole")) is None:
        return None
    text = (
        f"{record['reached']} of {record['seeds']} seeds reach a mean return of 475 over {record['episodes']} episodes of "
        f"CartPole-v1 with reward-to-go and a learned baseline"
    )
    if record["reached"]:
        text += f", the median after {number(record['median_steps'])} steps"
    text += f". All of them, evaluations included, are one program that takes {record['seconds']:.0f} s."
    return Finding(
        f"{record['reached']} of {record['seeds']}", "seeds solve CartPole", text, alarm=not record["passed"]
    )


def _pendulum(results: Results) -> Finding | None:
    if (record := results.control.get("pendulum")) is None:
        return None
    ratios = []
    for routes in record["path"].values():
        score, path = routes["score"], routes["pathwise"]
        slower = path["microseconds"] / score["microseconds"]
        ratios += [slower * b / a for a, b in zip(score["variance"], path["variance"], strict=True)]
    wins, most, least = sum(ratio > 1 for ratio in ratios), max(ratios), min(ratios)
    text = f"Through {record['num_steps']} steps of a pendulum "
    if wins:
        text += (
            f"the pathwise derivative is no sure winner: at {wins} of {len(ratios)} places on the way of a training the "
            f"score function has less variance × time, by up to {times(most)} times. "
        )
    if least < 1:
        text += f"At the best place for it, pathwise has {times(1 / least)} times less."
    return Finding(f"{times(most)}×", "less noise than through the dynamics, at most", text)


def _chess(results: Results) -> Finding | None:
    if (record := results.control.get("chess")) is None:
        return None
    before, (after, low, high) = record["won"][0][0], record["won"][1]
    text = (
        f"REINFORCE with a learned baseline, against an opponent that moves at random: after "
        f"{record['seconds'] / 60:.0f} minutes it wins {after * 100:.0f} % of {record['games']} games (95 %: {low * 100:.0f} "
        f"to {high * 100:.0f} %)."
    )
    figure = f"{before * 100:.0f} → {after * 100:.0f} %"
    return Finding(figure, "of games won, 5 × 5 chess", text, alarm=not record["passed"])


def _toy(results: Results) -> Finding | None:
    toy = results.discrete.toy
    known = [row for row in toy.values() if row["first_known"]]
    if "loo" not in toy or not known:
        return None
    way = {name: _way(row) for name, row in toy.items()}
    best = max(way, key=way.__getitem__)
    apart = max(abs(row["first"] - row["first_known"]) / row["first_error"] for row in known)
    none = [row["label"] for name, row in toy.items() if way[name] < 0.05]
    text = (
        f"{toy['loo']['size']} bits that hardly matter: after {toy[best]['steps'][-1]} steps {toy[best]['label']} has gone "
        f"{way[best] * 100:.0f} % of the way to the best objective, leave-one-out {way['loo'] * 100:.0f} %"
        + (f", and less than 5 % {listed(none)}" if none else "")
        + f". At the first step {plural(len(known), 'variance')} can be worked out on paper: the furthest of those measured is "
        f"{apart:.1f} standard errors away."
    )
    return Finding(f"{way[best] * 100:.0f} %", "of the way, bits that hardly matter", text, alarm=apart > 5)


def _way(row: dict[str, Any]) -> float:
    """How much of what there is to gain on the toy was gained, on average over the seeds."""
    start, last = (statistics.fmean(curve[place] for curve in row["objective"]) for place in (0, -1))
    return (last - start) / (row["best"] - start)


def _places(results: Results) -> Finding | None:
    path = results.discrete.path
    if not path:
        return None
    end = {name: values[-1] for name, values in path["variance"].items()}
    honest, biased = ([name for name in end if VAE[name].biased is side] for side in (False, True))
    best, calm = min(honest, key=end.__getitem__), min(biased, key=end.__getitem__)
    quiet = VAE[calm].label
    most = max(biased, key=lambda name: path["bias"][name][-1][0])
    text = (
        f"In an autoencoder with {path['latents']} bits, after {path['steps'][-1]} steps, {VAE[best].label} has the least noise of "
        f"those without bias: {times(end['loo'] / end[best])} times less than leave-one-out. {quiet[:1].upper() + quiet[1:]} has "
        f"{times(end[best] / end[calm])} times less again, but a bias: squared, {path['bias'][calm][-1][0] * 100:.0f} % of the "
        f"squared gradient"
        + (
            f"; {VAE[most].label} has the most, {path['bias'][most][-1][0] * 100:.0f} %."
            if most != calm
            else ", the most of all."
        )
    )
    return Finding(f"{times(end['loo'] / end[best])}×", "less variance than leave-one-out, autoencoder", text)


def _race(results: Results) -> Finding | None:
    race = results.discrete.race
    if not race:
        return None
    order = sorted(race["last"], key=lambda name: -race["last"][name]["bound"][0])
    best, worst = order[0], order[-1]
    honest = next(name for name in order if not VAE[name].biased)
    told = lambda name: f"{VAE[name].label} ({number(race['last'][name]['bound'][0], 4)})"
    text = f"After {race['limit']:.0f} s of learning, the bound on held-out images of {race['data']} is highest by {told(best)}"
    text += f", of those without bias by {told(honest)}" if honest != best else ", which has no bias"
    slower = race["milliseconds"][worst] / race["milliseconds"][best]
    text += f", and lowest by {told(worst)}, whose step takes {times(slower)} times as long."
    return Finding(f"{number(race['last'][best]['bound'][0], 4)}", "nats for an image, the best bound", text)


def _section(results: Results, row: Row) -> Section:
    return next(section for section in results.sections if section.problem.name == row.problem.name)
