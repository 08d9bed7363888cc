"""`log`: how the lines that the proxy writes to its error output look, and which are written."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from crossfade.config.section import Section

LogFormat = Literal["auto", "json", "text"]
LogLevel = Literal["debug", "info", "warning", "error"]


class LogConfig(Section):
    """The log of the proxy and its workers."""

    format: LogFormat = Field(
        default="auto",
        description="text for people, json for programs; auto: text on a terminal, json where there is none",
    )
    level: LogLevel = Field(default="info", description="the least level that is written")
