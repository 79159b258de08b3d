"""The small language model and its losses in numpy, from the formulas of the docstrings: loops, and derivatives that were taken on paper.

A loss is written as what it is, and as the coefficient c_it of each token: its gradient is sum c_it grad log p(x_it).
"""

import itertools
import math

import numpy as np

END, LONGEST = 2, 4


def answers():
    """All 31, by a tree."""
    found, open_ones = [], [()]
    for length in range(1, LONGEST + 1):
        following = [(*begin, token) for begin in open_ones for token in range(3)]
        found += [row for row in following if row[-1] == END or length == LONGEST]
        open_ones = [row for row in following if row[-1] != END]
    return found


def log_prob_and_score(params, prompt, answer):
    """Of each token: its log-probability, and its gradient, (T,) and a list of dictionaries."""
    l, scores, last = [], [], 3
    for t, token in enumerate(answer):
        logits = params["prompt"][prompt] + params["last"][last] + params["place"][t]
        p = np.exp(logits - logits.max())
        p /= p.sum()
        l.append(math.log(p[token]))
        slope = np.eye(3)[token] - p
        grad = {name: np.zeros_like(x) for name, x in params.items()}
        for name, row in (("prompt", prompt), ("last", last), ("place", t)):
            grad[name][row] += slope
        scores.append(grad)
        last = token
    return np.array(l), scores


def orders(group):
    """In how many orders a group comes."""
    return math.factorial(len(group)) / math.prod(math.factorial(group.count(k)) for k in set(group))


def expected(loss, params, size, prompts=2, sampled_by=None):
    """Value and gradient of the mean of ``loss(prompt, group, l) -> (value, coefficients of each token of each member)``."""
    all_answers = answers()
    value, gradient = 0.0, {name: np.zeros_like(x) for name, x in params.items()}
    for prompt in range(prompts):
        l, scores = zip(*(log_prob_and_score(params, prompt, a) for a in all_answers), strict=True)
        sampler = params if sampled_by is None else sampled_by
        probs = [math.exp(log_prob_and_score(sampler, prompt, a)[0].sum()) for a in all_answers]
        for group in itertools.combinations_with_replacement(range(len(all_answers)), size):
            weight = orders(group) * math.prod(probs[i] for i in group) / prompts
            own, coefficients = loss(prompt, group, [l[i] for i in group])
            value += weight * own
            for i, c in zip(group, coefficients, strict=True):
                for c_t, score in zip(c, scores[i], strict=True):
                    for name in gradient:
                        gradient[name] += weight * c_t * score[name]
    return value, gradient


def advantages(returns, baseline, std=None):
    """Of a group: minus the mean of the others or of all; over the deviation with n - std in its denominator."""
    n, total = len(returns), sum(returns)
    if baseline == "leave_one_out":
        out = [r - (total - r) / (n - 1) for r in returns]
    else:
        out = [r - total / n for r in returns]
    if std is not None:
        deviation = math.sqrt(sum((r - total / n) ** 2 for r in returns) / (n - std))
        out = [a / deviation if deviation > 1e-9 else 0.0 for a in out]
    return out


def clipped_token(ratio, advantage, low, high):
    """min(r A, clip(r) A) and its slope in log r."""
    inside = min(max(ratio, 1 - low), 1 + high)
    if ratio * advantage <= inside * advantage:
        return ratio * advantage, ratio * advantage
    return inside * advantage, 0.0
