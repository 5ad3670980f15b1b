"""Data health checks: damaged files, duplicates, leaks, odd pictures."""
