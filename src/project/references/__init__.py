"""Gradients by hand, each file a page that differs by one idea from the page before; no Lightning."""
