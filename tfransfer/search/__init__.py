"""Search: learning rates, sweeps over bases and depths."""
