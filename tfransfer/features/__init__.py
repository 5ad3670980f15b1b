"""Run the frozen part once, on the fastest available engine, and cache its outputs on disk."""
