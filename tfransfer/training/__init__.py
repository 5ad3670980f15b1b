"""Training: the two phases and the loop that runs both."""
