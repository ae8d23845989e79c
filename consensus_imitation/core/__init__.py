"""The mathematics and the pure learner: no files, clocks, callbacks or environments; everything can be jitted."""
