"""Runs: the jobs that create them, their folders, and the operations on a finished run."""
