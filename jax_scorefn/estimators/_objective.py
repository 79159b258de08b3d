"""f as the body of an estimator sees it: a function of one draw to real numbers of float32 at least.

    a complex f       its real and imaginary parts, on a last axis          E[f] = E[Re f] + i E[Im f], from the same draws
    half precision    widened: a value may be in its range where its share in a mean, or the number of draws, is not

What a body makes of these numbers is taken back to the dtype of f at the end. So estimators reckon with real numbers alone, and
what is right for an f of some shape is right for a complex one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from jax_scorefn._trees import of_parts, real_parts
from jax_scorefn.typing import Array, Info, PyTree


class Objective:
    """A user's f in these numbers. Once it has been called, it knows whether its results are others, and takes them back.

    Attributes:
      native: f itself.
    """

    def __init__(self, f: Callable[[PyTree], Any]):
        self.native, self._dtype = f, None

    def __call__(self, x: PyTree) -> Any:
        value = self.native(x)
        value = jnp.asarray(value) if isinstance(value, complex) else value
        dtype = getattr(value, "dtype", None)
        if dtype is None or not jnp.issubdtype(dtype, jnp.inexact):
            return value
        if jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits >= 32:
            return value
        value, self._dtype = jnp.asarray(value), dtype
        return real_parts(value) if self._is_complex else value.astype(jnp.float32)

    @property
    def _is_complex(self) -> bool:
        return self._dtype is not None and jnp.issubdtype(self._dtype, jnp.complexfloating)

    def inward(self, value: Any) -> Any:
        """What another function of the user's says in the place of f, in the numbers of the body."""
        return real_parts(jnp.asarray(value).astype(self._dtype)) if self._is_complex else value

    def outward(self, values: Array) -> Array:
        """Numbers of the body as another function of the user's sees them: complex, if f is."""
        return of_parts(values) if self._is_complex else values

    def answer(self, value: Array) -> Array:
        """The value of an estimator, in the dtype of f."""
        return value if self._dtype is None else self.outward(value).astype(self._dtype)

    def described(self, info: Info) -> Info:
        """An :class:`Info` about f. The error of a complex value is that of its distance from what it estimates."""
        if not self._is_complex:
            return info
        error = jnp.sqrt(jnp.sum(info.value_standard_error**2, axis=-1))
        return info._replace(values=of_parts(info.values), value_standard_error=error)
