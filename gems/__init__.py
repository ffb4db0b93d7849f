"""GEMS: agent-native image generation with memory and skills, as a LangGraph application."""

__version__ = "0.1.0"
