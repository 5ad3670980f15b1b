"""The methods of transfer learning, one file each: heads that learn on features, objectives that training minimizes."""
