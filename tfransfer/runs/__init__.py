"""Runs: jobs that make them, their folders, and what can be asked of them."""
