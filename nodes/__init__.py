"""One role a file: its instructions to the model, and its node."""
