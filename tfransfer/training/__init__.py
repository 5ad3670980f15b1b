"""The two phases, and the one loop that runs them."""
