"""ComfyUI as an image server: a workflow in API format, filled in for each drawing."""

from gems.backends.images.comfyui.images import ComfyImages
from gems.backends.images.comfyui.job import Pace

__all__ = ["ComfyImages", "Pace"]
