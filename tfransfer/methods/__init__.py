"""Methods of transfer learning, one file each: heads on cached features, and training objectives."""
