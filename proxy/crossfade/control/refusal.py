"""Why the control plane says no: three refusals, one for each HTTP status that the admin API gives them."""

from __future__ import annotations


class ControlError(Exception):
    """What was asked is not done, and nothing has changed; the text is for the operator."""

    status = 400


class UnknownName(ControlError):
    """No route, backend or rollout has this name."""

    status = 404


class Refused(ControlError):
    """Asked well, but not possible now: the wrong phase, or the journal cannot be written."""

    status = 409


class Invalid(ControlError):
    """The values asked for make no sense, such as weights that are all zero."""

    status = 422
