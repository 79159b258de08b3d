"""Sums over the support, the whole or a part of it, in place of draws."""
