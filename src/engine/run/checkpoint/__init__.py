"""The checkpoint files of a run: written whole, read with their sums, and chosen."""
