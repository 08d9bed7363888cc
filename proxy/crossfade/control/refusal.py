"""Errors of the control plane for the operator, one for each HTTP status of the admin API."""

from __future__ import annotations


class ControlError(Exception):
    """The request is refused, and nothing has changed; the text is for the operator."""

    status = 400


class UnknownName(ControlError):
    """No route, backend or rollout has this name."""

    status = 404


class Refused(ControlError):
    """Valid, but not possible now: the wrong phase, or the journal cannot be written."""

    status = 409


class LastEndpoint(Refused):
    """No other endpoint of the backend would get its requests."""


class Invalid(ControlError):
    """Values that are not valid, such as weights that are all zero."""

    status = 422


class Changed(ControlError):
    """The caller has seen another state than this one; somebody else was there first."""

    status = 412


class Unwritten(ControlError):
    """It cannot be written now. Whoever asked may ask again: nothing counts twice."""

    status = 503


class Unreadable(ControlError):
    """It cannot be read now, as the disk does not give it."""

    status = 503
