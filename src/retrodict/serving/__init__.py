"""Models that answer, each answer durably on record before it is given."""

from retrodict.serving.call import Answer, Asked, Asker
from retrodict.serving.errors import ModelFailedError
from retrodict.serving.materialize import materialize
from retrodict.serving.service import Member, Ready, ServedModel, Service
from retrodict.serving.trace import format_traceparent, parse_traceparent

__all__ = [
    "Answer",
    "Asked",
    "Asker",
    "Member",
    "ModelFailedError",
    "Ready",
    "ServedModel",
    "Service",
    "format_traceparent",
    "materialize",
    "parse_traceparent",
]
