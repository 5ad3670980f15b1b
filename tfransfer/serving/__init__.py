"""A small local HTTP service for a run: TensorFlow Serving's REST API, and a page to drop a photo on."""
