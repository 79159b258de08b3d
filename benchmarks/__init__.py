"""Benchmarks: problems x estimators, measured in one run and told in one report.

    python -m benchmarks                         # quick: about a minute
    python -m benchmarks --full --out report     # more replicates and draws
    python -m benchmarks --only 'gauss-*,pathwise'

A cell is one (problem, method). To add an estimator, add one ``Method`` to ``methods.METHODS``; to add a problem, add
one ``Problem`` to ``problems.PROBLEMS``. Nothing else has to know.
"""

import os
from importlib.metadata import version

if version("jaxlib").startswith("0.10."):  # its sums are wrong without this (jax_scorefn/_jaxlib.py)
    os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_experimental_ynn_fusion_type="
