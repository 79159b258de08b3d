"""The estimators that are measured on every problem, each with its options fixed. One entry each."""

from __future__ import annotations

import jax_scorefn as sf
from benchmarks.method import Method

NODES = 64
"""Quadrature nodes of the exact method."""

SMOOTH = ("smooth-4",)
METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("score", "score function", "score_function", {"baseline": None}),
        Method("score-loo", "score, leave-one-out", "score_function", {"baseline": sf.baselines.leave_one_out}),
        Method("score-mean", "score, batch mean", "score_function", {"baseline": sf.baselines.batch_mean}),
        Method("pathwise", "pathwise", "pathwise"),
        Method("exact", "exact", "exact", {"num_nodes": NODES}, sampled=False),
        Method("score-best", "score, best constant", "score_function", {"baseline": sf.baselines.optimal_constant}),
        Method("score-delta", "score, delta method", "score_function", {"control_variate": sf.control_variates.delta()}),
        Method("double-cv", "double control variate", "double_control_variate"),
        Method("score-antithetic", "score, antithetic", "score_function", {"scheme": sf.schemes.antithetic}),
        Method("score-sobol", "score, Sobol nets", "score_function", {"scheme": sf.schemes.sobol(8)}),
        Method("score-strata", "score, stratified", "score_function", {"scheme": sf.schemes.stratified(128)}, only=SMOOTH),
        Method("path-sobol", "pathwise, Sobol nets", "pathwise", {"scheme": sf.schemes.sobol(8)}, only=SMOOTH),
        Method("vargrad", "VarGrad", "vargrad", only=("coupled-bits",)),
        Method(
            "score-proposal", "score, proposal", "score_function",
            {"proposal": sf.Normal(loc=3.0, scale=1.0), "baseline": None}, only=("tail",),
        ),
    )
}  # fmt: skip
BASE = "score"
"""The method that the others are compared with."""
