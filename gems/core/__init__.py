"""The vocabulary every other package shares: state, context, settings, ports, reply models, errors."""
