"""The ways to make a head, one file each: solved on features that were computed once, or trained by steps."""
