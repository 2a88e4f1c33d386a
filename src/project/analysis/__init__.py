"""Measures what passes a network's activation functions, forward and back.

`watch` looks at a network while it trains; `depth` compares initialisations before any training.
Both are plain PyTorch: no Lightning, no config.
"""
