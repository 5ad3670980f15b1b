"""Files for elsewhere, each held to the model it was made from before it is handed over."""
