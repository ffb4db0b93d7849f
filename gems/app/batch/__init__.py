"""`gems batch`: many prompts at once, each on a thread of its own, so that the same command goes on where it stopped."""
