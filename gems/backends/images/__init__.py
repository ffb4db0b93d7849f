"""Image models behind one port."""
