"""What versions of JAX cannot do."""

import jax
import pytest

explicit_meshes = pytest.mark.xfail(
    jax.__version_info__ < (0, 10, 2),
    strict=False,
    reason="where(...) does not go through a vmap in an Explicit mesh before JAX 0.10.2",
)
"""For programs in a mesh with Explicit axes: they raise there, and nothing is wrong in silence. From 0.10.2 on they have to pass."""
