"""Fails a check of its own when it is imported; stevedore would let that end the discovery."""

raise AssertionError("this module needs a GPU")
