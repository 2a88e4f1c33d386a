"""Runs every job of a sweep once, whichever process runs it.

A job's folder has the hash of the job's config in its name, and the folder alone says how far the
job is. A process that runs a job holds a lock, which the system frees when the process dies. So a
sweep can be killed, started again, made larger, or run by several processes. All configs are
checked before the first job runs.
"""
