"""Raises what no ``except Exception`` catches when it is imported."""


class Halt(BaseException):
    """Like the errors by which some libraries end what runs."""


raise Halt("nobody catches this")
