"""`gems serve`: an image server of our own, for OpenAI's Images API and the paper's protocol.

Needs the packages of the extra `serve`, and loads none of them on import.
"""
