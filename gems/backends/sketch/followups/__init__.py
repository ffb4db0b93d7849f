"""Follow-ups of the embedded engine: what a person says of a picture, as changes of its scene and of its request.

A clause is either understood as a whole or not at all: a frame such as "make X COLOUR" fits only where every part of it is
known. What fits no frame is handed back in the person's own words, never guessed at.
"""
