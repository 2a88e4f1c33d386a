"""LightningModules: one file per model, one step for all of them."""
