"""A person at a page in the browser: the page, who may see it, and what it shows."""
