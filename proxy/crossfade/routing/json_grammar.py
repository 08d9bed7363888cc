"""The grammar of JSON (RFC 8259) as patterns for bytes, strict as the decoder (msgspec) and lenient as lenient models are.

Rule: a pattern never looks at a byte twice, so quantifiers are possessive where they repeat.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

LONGEST_ESCAPE: Final = 12  # bytes: two \uXXXX for one character
QUOTE: Final = 0x22
BACKSLASH: Final = 0x5C
BRACKET: Final = 0x5B
SCALAR_STARTS: Final = b"-0123456789tfn"
SPACE_BYTES: Final = b" \t\r\n"

_HEX = rb"[0-9a-fA-F]"
_PAIR = rb"[dD][89abAB]" + _HEX + rb"{2}\\u[dD][c-fC-F]" + _HEX + rb"{2}"
_UNIT = rb"(?:[0-9a-cA-Ce-fE-F]" + _HEX + rb"{3}|[dD][0-7]" + _HEX + rb"{2}|" + _PAIR + rb")"
_ESCAPE = rb'\\(?:["\\/bfnrt]|u' + _UNIT + rb")"
_TEXT = rb'[^"\\\x00-\x1f]*+'
_UTF8 = (
    rb"[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]{2}|\xed[\x80-\x9f][\x80-\xbf]"
    rb"|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2}"
)
_SPACE = rb"[ \t\r\n]*+"
_PLAIN = rb'"(?:[ !#-\[\]-\x7f]++|' + _ESCAPE + rb"|" + _UTF8 + rb')*+"'
_NUMBER = rb"-?(?:0|[1-9][0-9]{0,17}+)(?:\.[0-9]{1,17}+)?+(?:[eE][+-]?[0-9]{1,2}+)?+"
_ONE = rb"(?:" + _NUMBER + rb"|" + _PLAIN + rb"|true|false|null)"
_MEMBER = _PLAIN + _SPACE + rb":" + _SPACE


def _nested(one: bytes) -> bytes:
    """`one`, or an array or object of such values."""
    rest = _SPACE + rb"(?:," + _SPACE + rb"(?![\]}])|(?=[\]}])))*+"
    array = rb"\[" + _SPACE + rb"(?:" + one + rest + rb"\]"
    members = rb"\{" + _SPACE + rb"(?:" + _MEMBER + one + rest + rb"\}"
    return rb"(?:" + one + rb"|" + array + rb"|" + members + rb")"


_SMALL = _nested(_nested(_ONE))
STRICT_TEXT: Final = re.compile(_TEXT + rb"(?:" + _ESCAPE + _TEXT + rb")*+")
LENIENT_TEXT: Final = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
SPACES: Final = re.compile(_SPACE)
PLAIN_STRING: Final = re.compile(_PLAIN)
PLAIN_SCALAR: Final = re.compile(_NUMBER + rb"|true|false|null")
STRICT_SCALAR: Final = re.compile(rb"[-+.0-9A-Za-z]*+")
LENIENT_SCALAR: Final = re.compile(rb'[^ \t\r\n,:"\[\]{}]*+')
ITEMS: Final = re.compile(rb"(?:" + _SPACE + _SMALL + _SPACE + rb",)*+")  # most values of an array, at once
MEMBERS: Final = re.compile(rb"(?:" + _SPACE + _MEMBER + _SMALL + _SPACE + rb",)*+")
_DECODE: Final = msgspec.json.Decoder().decode


def decoded(token: bytes) -> Any:
    """The value of a token, or None."""
    try:
        return _DECODE(token)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
