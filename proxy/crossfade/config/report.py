"""`report`: reports of a route that are written as files."""

from __future__ import annotations

from pydantic import Field

from crossfade.config.section import Count, Period, Section, Text


class ReportConfig(Section):
    """Reports of the route, written as files from time to time."""

    every: Period = Field(description="after how long the next report is written")
    dir: Text = Field(description="the folder; it is made where it does not exist")
    keep: Count = Field(default=12, description="how many reports stay; older ones are deleted")
