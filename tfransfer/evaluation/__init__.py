"""How good a model is on held-out pictures, each scored once."""
