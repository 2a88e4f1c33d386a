"""engine/report/page"""
