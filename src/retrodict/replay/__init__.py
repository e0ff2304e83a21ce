"""Calls made again, and what came out compared with the record, bit for bit."""
