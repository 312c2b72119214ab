"""The notebook's face: the `%thinkube` magic."""
