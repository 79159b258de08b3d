"""Lower bounds on a log-evidence: see ``_frame``."""
