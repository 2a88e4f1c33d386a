"""Refuses a run before it starts: what is wrong in its config, its data, or in both together.

Each file refuses one kind of mistake, by a `UserError` that names the key or the place. Nothing is
built for a run that is refused, and no folder is left behind.
"""
