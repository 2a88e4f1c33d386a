"""engine/search"""
