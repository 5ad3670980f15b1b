"""What there is (index), what is wrong with it (audit), where it comes from (folder), how it flows (flow)."""
