"""Plugin with a syntax error."""

FLOWSTONE_API = = 1
