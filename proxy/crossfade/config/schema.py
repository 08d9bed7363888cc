"""The JSON Schema of the format, for editors; generated from the types.

It describes what may be written (`5%` and `24h` as well as numbers, `${NAME}` for any value), in the draft
that YAML support of editors implements best. It has no rules about several values together; `crossfade
check` has them.
"""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from crossfade.config.model import Config
from crossfade.config.section import VARIABLE

_DRAFT = "http://json-schema.org/draft-07/schema#"


class _Generator(GenerateJsonSchema):
    """Omits titles that only repeat the key, and accepts a variable for each literal."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def literal_schema(self, schema: Any) -> dict[str, Any]:
        return {"anyOf": [super().literal_schema(schema), VARIABLE]}


def json_schema() -> dict[str, Any]:
    schema = Config.model_json_schema(by_alias=True, schema_generator=_Generator)
    return {"$schema": _DRAFT, **schema, "title": "Crossfade configuration"}
