"""One module per verb: a function in, a frozen record out. The only place that joins rooms; verbs never import verbs.

`open` and `names` are no verbs: every verb needs an open workspace and a way to name things.
"""
