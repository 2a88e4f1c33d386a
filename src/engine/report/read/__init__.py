"""engine/report/read"""
