"""Estimators of one number, right and broken in the ways that are met in public, for the gates that must fail them."""

import jax


def twin(kind):
    """Estimators of d/dm E[x^2 + m x] at m, one right and the rest broken in the ways that are met in public."""

    def estimate(key, m=0.7, size=4):
        x = m + jax.random.normal(key, (size,))
        f, score = x**2 + m * x, x - m
        others = (f.sum() - f) / (size - 1)
        inside = f.mean()
        return {
            "right": ((f - others) * score + x).mean(), "sign flipped": (-(f - others) * score + x).mean(),
            "df/dtheta dropped": ((f - others) * score).mean(), "mean with the draw itself": ((f - inside) * score + x).mean(),
            "wrong factor": ((f - others) * score + x).sum() / (size - 1), "reparameterized score": (0.0 * score + x).mean(),
        }[kind]  # fmt: skip

    return estimate


KINDS = ["sign flipped", "df/dtheta dropped", "mean with the draw itself", "wrong factor", "reparameterized score"]
