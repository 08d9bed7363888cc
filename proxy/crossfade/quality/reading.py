"""What one answer says: from the bytes that a worker passed on to typed rows.

Rule: it never raises, and takes time and memory in proportion to the bytes and the cap on the unpacked size. What it
costs is spent in the observer, so the usual answer, plain JSON without a coding, takes a few microseconds.
"""

from __future__ import annotations

from typing import Final

from crossfade.quality.answer import Answer, RawAnswer
from crossfade.quality.encodings import unpack
from crossfade.quality.head_fields import HeadFields
from crossfade.quality.json_document import decode
from crossfade.quality.oip_binary import PackedTensors, split_json
from crossfade.quality.prediction import Prediction
from crossfade.quality.protocols import read_document
from crossfade.quality.streamed import is_stream, read_stream
from crossfade.quality.unreadable import BROKEN, SIZE, STATUS, Unreadable

LARGEST_UNPACKED: Final = 4 * 1024 * 1024


def read_answer(
    raw: RawAnswer, target: bytes, prediction: Prediction, largest: int = LARGEST_UNPACKED
) -> Answer:
    """`target`: path and query of the request. `largest`: bytes of the content without its codings."""
    try:
        if raw.status // 100 != 2:
            raise Unreadable(STATUS)
        if raw.body is None:
            raise Unreadable(SIZE)
        head = HeadFields(raw.head)
        if is_stream(head):
            return read_stream(raw, raw.body, head, prediction, largest)
        if raw.cut:
            raise Unreadable(SIZE)
        if raw.broken:
            raise Unreadable(BROKEN)
        return _read_whole(raw.body, head, target, prediction, largest)
    except Unreadable as error:
        return Answer(error=error.problem.error, unread=error.problem.unread)


def _read_whole(body: bytes, head: HeadFields, target: bytes, prediction: Prediction, largest: int) -> Answer:
    coding = head.find(b"content-encoding")
    if coding is not None:
        body = unpack(body, coding, largest).content
    if len(body) > largest:
        raise Unreadable(SIZE)
    tensors = PackedTensors()
    if prediction.protocol in ("oip_v2", "auto"):
        body, tensors = split_json(body, head.find(b"inference-header-content-length"))
    return read_document(decode(body), target, prediction, tensors)
