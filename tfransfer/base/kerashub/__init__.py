"""KerasHub presets as bases."""
