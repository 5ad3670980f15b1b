"""Export a model to files, each compared with the model before it is released."""
