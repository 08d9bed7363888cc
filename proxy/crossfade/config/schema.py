"""The JSON Schema of the format, for editors: generated from the types, so that it cannot fall behind.

It says what may be written (`5%` and `24h` as well as numbers, `${NAME}` wherever a value stands), in the
draft that editors' YAML support knows best. What fields mean together is beyond it: `crossfade check`
tells.
"""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from crossfade.config.model import Config
from crossfade.config.section import VARIABLE

_DRAFT = "http://json-schema.org/draft-07/schema#"


class _Generator(GenerateJsonSchema):
    """Without titles that only repeat the key, and with a variable wherever one of a few words may stand."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def literal_schema(self, schema: Any) -> dict[str, Any]:
        return {"anyOf": [super().literal_schema(schema), VARIABLE]}


def json_schema() -> dict[str, Any]:
    schema = Config.model_json_schema(by_alias=True, schema_generator=_Generator)
    return {"$schema": _DRAFT, **schema, "title": "Crossfade configuration"}
