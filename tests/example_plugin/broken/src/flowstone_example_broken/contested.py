"""Has a name that a plugin of the rival has too; alone, nothing is wrong with it."""

FLOWSTONE_API = 1
