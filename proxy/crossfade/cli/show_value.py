"""Prints what another split would have been worth."""

from __future__ import annotations

from typing import Any

from crossfade.cli.output import print_text


def show_value(answer: dict[str, Any]) -> None:
    found, what = answer["found"], _subject(answer)
    units = "customers" if found["keyed"] else "requests"
    counted = f"{found['units']} {units} with a label counted"
    if found["unlabelled"]:
        counted += f", {found['unlabelled']} had none"
    if found["left_out"]:
        counted += f", {found['left_out']} were left out, as a backend of the policy had less than 1% then"
    if answer["beyond"]:
        counted += f"; about {answer['beyond']} older predictions were not read"
    print_text(f"{answer['route']}: {what} if {'; '.join(answer['rules'])}")
    if found["refused"]:
        print_text(f"Nothing can be said: {found['refused']}.")
        print_text(f"{counted}.")
        return
    kind = (
        "at all looks"
        if found["exact"]
        else "at all looks, for many rows; no kpi check of this name has a range"
    )
    print_text(f"  the policy   {_number(found['value'])}  {_interval(found['interval'])}")
    print_text(f"  as it was    {_number(found['as_it_was'])}")
    print_text(f"  the change   {_number(found['change'], '+')}  {_interval(found['change_interval'], '+')}")
    print_text(f"Intervals: 95%, {kind}. Effective sample: {found['size']:.0f}. {counted}.")


def _subject(answer: dict[str, Any]) -> str:
    return (
        f"the accuracy by {answer['name']}"
        if answer["measure"] == "accuracy"
        else f"the mean of {answer['name']}"
    )


def _number(value: float, sign: str = "") -> str:
    return f"{value:{sign}.5g}"


def _interval(ends: list[float | None], sign: str = "") -> str:
    low, high = ("any" if end is None else _number(end, sign) for end in ends)
    return f"{low} to {high}"
