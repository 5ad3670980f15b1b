"""Tasks: what single-label, multi-label and regression models decide for every stage."""
