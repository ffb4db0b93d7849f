"""Image models on this machine's own devices, by diffusers. Importing a module of this package loads no torch."""
