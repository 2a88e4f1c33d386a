"""project/analysis"""
