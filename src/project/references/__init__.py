"""Computes gradients by hand, to compare them with autograd's.

Each file is one page, and differs from the page before by one idea. No file uses Lightning.
"""
