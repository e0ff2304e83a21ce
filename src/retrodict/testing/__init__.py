"""What tests of this project, and of what is built on it, need: a disk that fails, a clock that stands, strategies.

Shipped, and outside the staircase of rooms: nothing but tests (and benchmarks) imports it. `strategies` needs
Hypothesis, `workspaces`, `workbench` and `bank` the extra `models`; the other modules need nothing.
"""
