"""Other libraries' own entry points, each an optional extra: imported by name, never with the library."""
