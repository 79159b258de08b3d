"""A value with its derivatives from one trace of the function: to trace and compile it again for each is most of what a test takes."""

import jax


def with_jacobian(function):
    """``x -> (function(x), its Jacobian)``, backwards."""

    def both(x):
        jacobian, value = jax.jacrev(lambda x: (lambda value: (value, value))(function(x)), has_aux=True)(x)
        return value, jacobian

    return both


def with_hessian(function):
    """``x -> (function(x), gradient, Hessian)``; the Hessian as ``jax.hessian`` has it, forwards over backwards."""

    def first(x):
        value, gradient = jax.value_and_grad(function)(x)
        return gradient, (value, gradient)

    def all_three(x):
        hessian, (value, gradient) = jax.jacfwd(first, has_aux=True)(x)
        return value, gradient, hessian

    return all_three
