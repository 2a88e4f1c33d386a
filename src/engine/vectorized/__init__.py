"""engine/vectorized"""
