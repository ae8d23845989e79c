"""A demonstrator that is truly random: how near members and their minimum come to its law."""
