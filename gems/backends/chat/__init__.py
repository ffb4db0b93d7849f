"""Chat models in the roles of the loop."""
