"""A function of the noise as a control variate for discrete draws: see ``_frame``."""
