"""Refuses a run before it starts: what is wrong in its config, its data, or in both together.

Each file refuses one kind of mistake, by a `UserError` that names the key or the place. A run that
is refused takes no step and leaves no folder behind.
"""
