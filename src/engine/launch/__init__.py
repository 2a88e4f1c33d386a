"""engine/launch"""
