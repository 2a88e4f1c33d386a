"""engine/report/statistics"""
