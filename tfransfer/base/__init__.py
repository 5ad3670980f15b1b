"""Pretrained bases: a record of each, how it is built, its blocks, and the cuts where it can be split."""
