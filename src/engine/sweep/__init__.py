"""engine/sweep"""
