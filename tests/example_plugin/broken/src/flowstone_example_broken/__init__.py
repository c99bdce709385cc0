"""Each module of this package is a plugin that is wrong in one way."""
