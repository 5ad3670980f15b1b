"""Files, caches, signals and other services of the operating system."""
