"""The health of data: damaged files, duplicates, leaks, odd pictures."""
