"""Head methods, one file each: solved on cached features, or trained by gradient steps."""
