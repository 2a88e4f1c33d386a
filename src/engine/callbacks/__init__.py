"""engine/callbacks"""
