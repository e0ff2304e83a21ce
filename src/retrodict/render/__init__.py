"""One frozen record in; text, JSON, HTML or a notebook's display out."""
