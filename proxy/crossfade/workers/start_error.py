"""Why a proxy cannot start."""


class StartError(Exception):
    """The proxy cannot start, and has changed nothing; the message is for the operator."""
