"""Choices that are compared with other values: runs in which these stand in their place, all of them, some, or a few along a scan."""
