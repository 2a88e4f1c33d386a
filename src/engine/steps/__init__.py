"""Takes training steps: one by one, several in one call, or each as one compiled function.

A step that a callback watches is an ordinary step of Lightning's. The steps between two watched
steps form a block, and one call takes the whole block. The length of a block changes no bit of a
result. Where a run cannot have blocks or compiled steps, it says why and trains without them.
"""
