"""Commands of the command line that are a subject of their own; `cli` puts them together."""
