"""Data: its sources, the index with splits, the health checks, and the tf.data pipelines."""
