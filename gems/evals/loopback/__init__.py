"""Servers on this machine that imitate real model servers, clean or dirty, and remember what they were asked."""

from gems.evals.loopback.brains import Brain, brain_of, never, seeing, truth
from gems.evals.loopback.chat import ChatServer
from gems.evals.loopback.chat_faults import CHAT_FAULTS, HARMLESS, SPOIL
from gems.evals.loopback.chat_flavours import CHAT_FLAVOURS, ChatFlavour
from gems.evals.loopback.faults import FREE, TRANSPORT, Plan, always, clean, exactly, seeded
from gems.evals.loopback.hub import HUB_FAULTS, HubModel, HubServer
from gems.evals.loopback.image_flavours import IMAGE_FLAVOURS, ImageFlavour
from gems.evals.loopback.images import IMAGE_FAULTS, MARKER, ImageServer
from gems.evals.loopback.log import Entry, Log
from gems.evals.loopback.ollama import OllamaNative
from gems.evals.loopback.process import LoopbackProcess
from gems.evals.loopback.server import Loopback
from gems.evals.loopback.traces import TraceServer

__all__ = [
    "CHAT_FAULTS",
    "CHAT_FLAVOURS",
    "FREE",
    "HARMLESS",
    "HUB_FAULTS",
    "IMAGE_FAULTS",
    "IMAGE_FLAVOURS",
    "MARKER",
    "SPOIL",
    "TRANSPORT",
    "Brain",
    "ChatFlavour",
    "ChatServer",
    "Entry",
    "HubModel",
    "HubServer",
    "ImageFlavour",
    "ImageServer",
    "Log",
    "Loopback",
    "LoopbackProcess",
    "OllamaNative",
    "Plan",
    "TraceServer",
    "always",
    "brain_of",
    "clean",
    "exactly",
    "never",
    "seeded",
    "seeing",
    "truth",
]
