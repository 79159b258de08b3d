"""The score of each draw: f less what the other draws say of it, times grad log p."""
