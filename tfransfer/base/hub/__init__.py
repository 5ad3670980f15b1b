"""TF-Hub modules as bases."""
