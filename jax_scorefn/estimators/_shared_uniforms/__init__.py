"""Groups of draws made of the same uniforms, and a gradient made by hand: see ``_frame``."""
