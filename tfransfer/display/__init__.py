"""Progress bars, terminal tables and HTML values."""
