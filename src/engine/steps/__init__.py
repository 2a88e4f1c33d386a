"""engine/steps"""
