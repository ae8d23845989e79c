"""A world that changes in ways that the answers did not cover: who asks then, and who acts on."""
