"""The error that a user can mend."""


class InputError(ValueError):
    """Something given to a command is wrong: its message says what, where and what would be right.

    The command line prints the message without a traceback and exits with code 1.
    """
