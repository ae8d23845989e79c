"""A poisoned pipeline: one set of demonstrations makes all members, and some of them carry a backdoor."""
