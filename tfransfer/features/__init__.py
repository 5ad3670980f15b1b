"""Run the frozen part once, on the fastest engine this machine has, and keep what it says, safely."""
