"""Plugin with the name of the core's plugin."""

FLOWSTONE_API = 1
