"""The cases that ship: each makes a workspace, does the main job in it, and says what it does."""
