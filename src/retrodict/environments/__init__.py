"""Recorded environments: how they differ from the present one, and built again."""
