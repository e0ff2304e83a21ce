"""German credits, 1973 to 1975, and a code table that was wrong for 25 years (see `data/README.md`).

`pipeline/` and `chain/` are copied into the workspace of the demonstration and run there as a user's own code would
be: nothing in `pipeline/` imports retrodict.
"""
