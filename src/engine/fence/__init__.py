"""engine/fence"""
