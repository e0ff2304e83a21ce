"""Tables with history: a stream of changes, and its fold. A version is one set of changes that came in one piece."""
