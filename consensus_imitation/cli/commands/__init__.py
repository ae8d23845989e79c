"""Commands of ``consensus-imitation`` with many arguments, one module each; each imports what it needs when it runs."""
