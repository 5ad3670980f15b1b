"""Sources of data: folders, tables, arrays, TFDS, built-in digits."""
