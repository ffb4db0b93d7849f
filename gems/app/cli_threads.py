"""Commands on what runs leave behind: their threads, images and lessons. Listed in the order of `gems --help`."""

from __future__ import annotations

import click

threads = click.Group()
"""Holds the commands until the program's own group takes them in."""
