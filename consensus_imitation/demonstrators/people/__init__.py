"""People as demonstrators: at a terminal, or at a page in a browser."""
