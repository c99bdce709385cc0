"""A plugin whose name one of the broken distribution has too."""

FLOWSTONE_API = 1
