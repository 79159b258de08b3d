"""Along the path of a draw, its own or that of something between the draws."""
