"""Words that people type into the search, and the page, or its part, that answers: it is found first, as the word is typed.

Sphinx takes a query apart at hyphens and finds whatever has the parts; an entry of the index is compared as a whole.
"""

from sphinx.addnodes import index
from sphinx.transforms import SphinxTransform
from sphinx.util import logging

WORDS = {
    "why-is-my-gradient-zero": ("zero gradient", "gradient is zero", "stop_gradient", "None gradient"),
    "coming-from": (
        "migrate",
        "migration",
        "TFP",
        "TensorFlow Probability",
        "distrax",
        "rlax",
        "trl",
        "Pyro",
        "Storchastic",
        "GenJAX",
    ),
    "lift": ("simulator", "jax.random"),
    "devices": ("GPU", "multiple devices", "TPU", "sharding", "shard_map", "multi-host", "jax.distributed", "pod"),
    "preemption": ("checkpoint", "orbax", "resume", "SIGTERM", "interrupt"),
    "simulators": ("differentiable simulator", "inventory", "StochasticAD", "finite perturbation"),
    "identity": (
        "REINFORCE",
        "log-derivative trick",
        "likelihood ratio",
        "score-function estimator",
        "magic box",
        "DiCE",
    ),
    "choosing": ("reparameterization", "reparameterisation", "pathwise gradient"),
    "variance": ("leave-one-out", "baseline", "control variate", "variance reduction"),
    "variance#draw-in-groups": ("antithetic", "quasi-Monte Carlo", "stratified sampling"),
    "variance#bounds-on-the-evidence": ("ELBO", "IWAE", "VIMCO", "variational inference"),
    "discrete": ("discrete latent variables", "DisARM", "REBAR", "RELAX"),
    "discrete#relaxations-and-their-bias": ("Gumbel-softmax", "concrete distribution", "straight-through"),
    "audit": ("unbiased", "bias"),
    "importance": ("importance sampling", "off-policy", "MCMC", "Markov chain"),
    "optax#a-model-of-flax-or-equinox": ("flax", "equinox", "haiku"),
    "programs": ("credit assignment", "stochastic computation graph", "several choices"),
    "numpyro": ("NumPyro", "TraceGraph_ELBO"),
    "policy-gradients": ("policy gradient", "reinforcement learning"),
    "policy-gradients#a-loss-is-a-sum-and-its-weight": ("PPO", "actor-critic", "GAE", "V-trace"),
    "policy-gradients#sequences": ("RLHF", "RLOO", "GRPO", "language model", "fine-tuning"),
    "scale": ("out of memory", "memory", "chunk"),
    "scale#f-that-is-not-jax": ("black-box", "black box", "pure_callback"),
    "examples/digits": ("flax", "VAE", "discrete VAE", "variational autoencoder"),
    "examples/mixture": ("hidden Markov model", "mixture model"),
    "examples/agent": ("equinox", "bandit", "gridworld"),
    "examples/answers": ("token", "LLM"),
    "examples/staffing": ("queue", "queueing"),
    "examples/epidemic": ("epidemic", "SIR"),
    "examples/scipy_objective": ("scipy", "black-box optimisation", "black-box optimization"),
    "examples/gates": ("L0", "feature selection", "sparsity"),
    "examples/energy": ("energy model", "energy-based model", "partition function", "NUTS"),
    "examples/design": ("optimal design", "without replacement", "Gaussian process"),
    "examples/maml": ("MAML", "meta-learning", "Hessian", "second derivative"),
}
LACKING = "words.py names {place}, which is not there"


class Words(SphinxTransform):
    """The entries of a page, at the head of it or of its part."""

    default_priority = 500

    def apply(self, **options):
        for place, words in WORDS.items():
            page, _, part = place.partition("#")
            if page == self.env.docname:
                if part and part not in self.document.ids:
                    logging.getLogger(__name__).warning(LACKING.format(place=place))
                entries = [("single", word, part, "main", None) for word in words]
                self.document.insert(0, index(entries=entries, inline=False))


def check(app, env):
    for page in {place.partition("#")[0] for place in WORDS} - env.found_docs:
        logging.getLogger(__name__).warning(LACKING.format(place=page))


def setup(app):
    app.add_transform(Words)
    app.connect("env-check-consistency", check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
