"""Plugin whose import raises a BaseException."""


class Halt(BaseException):
    """Like the errors by which some libraries end what runs."""


raise Halt("nobody catches this")
