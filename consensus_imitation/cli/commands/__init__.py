"""Commands of ``consensus-imitation`` with many arguments, one module each; they import what they run when they run."""
