"""Pretrained bases: one record each, how to build it, its blocks, and the cuts at which it can be frozen and split."""
