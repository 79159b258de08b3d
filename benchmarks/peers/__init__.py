"""Other systems on the problems that all share, each in an environment of its own.

A peer is one file, ``peer_<name>.py``: what it needs stands at its head (as PEP 723 has it), and it answers questions (``serve``).
It imports nothing of this library. ``peer_ours`` is this library, in this environment or in
a peer's own, and ``peer_by_hand`` plain JAX.
``run_page`` runs the programs of docs/coming-from.md in the same environments (see ``coming_from``).
"""
