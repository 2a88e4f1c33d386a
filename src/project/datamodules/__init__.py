"""LightningDataModules: one file per data set, one data path for all of them."""
