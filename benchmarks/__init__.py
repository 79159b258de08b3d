"""Benchmarks: studies, measured in one run and told in one report.

    python -m benchmarks                         # quick: two to three minutes
    python -m benchmarks --full --out report     # more replicates and draws
    python -m benchmarks papers --only one_bit   # one study, and of it one part

A study is a module of ``studies``; what one consists of stands in ``study``. Nothing else has to know.
"""

import os
from importlib.metadata import version

FLAG = "--xla_cpu_experimental_ynn_fusion_type="
"""What the sums of jaxlib 0.10 are wrong without (jax_scorefn/_jaxlib.py), and what no other knows."""

if version("jaxlib").startswith("0.10."):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FLAG}"
