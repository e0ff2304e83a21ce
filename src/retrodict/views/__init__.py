"""Tables folded from the log: caught up on demand, deleted and rebuilt at will. Knows no kind of event."""

from retrodict.views.errors import DamagedViewsError, MalformedProjectionError, UnfoldableEntryError
from retrodict.views.fold import Projection
from retrodict.views.views import Views

__all__ = ["DamagedViewsError", "MalformedProjectionError", "Projection", "UnfoldableEntryError", "Views"]
