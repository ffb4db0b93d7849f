"""The embedded engine: text-to-layout diffusion, an icon renderer, and vision that reads pixels.

Nothing is imported here, so that a word list can be read without loading torch.
"""
