"""What changed between two files: rows and cells of tables, numbers of arrays, lines of texts. Pure functions."""
