"""The HTTP door: Open Inference Protocol v2, every answer durably on record before it is sent."""

from retrodict.server.app import Limits
from retrodict.server.run import Server, serve
from retrodict.server.tokens import Tokens

__all__ = ["Limits", "Server", "Tokens", "serve"]
