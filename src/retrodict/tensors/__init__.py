"""Arrays by version."""
