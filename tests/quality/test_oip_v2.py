"""The Open Inference Protocol, version 2: JSON and the binary extension."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest

from tests.quality.reading import declared, read, values

OIP = declared("oip_v2")


def tensor(
    data: Any, shape: list[Any], datatype: str = "FP32", name: str = "out", **more: Any
) -> dict[str, Any]:
    return {"name": name, "shape": shape, "datatype": datatype, "data": data} | more


def answer_of(*outputs: Any) -> dict[str, Any]:
    return {"model_name": "m", "model_version": "1", "id": "42", "outputs": list(outputs)}


@pytest.mark.parametrize(
    ("output", "rows"),
    [
        (tensor([0.5, 2.5], [2]), [[("score", 0.5, "out")], [("number", 2.5, "out")]]),
        (tensor([1, 0], [2, 1]), [[("score", 1.0, "out")], [("score", 0.0, "out")]]),
        (tensor([[1], [0]], [2, 1], "INT64"), [[("label", 1, "out")], [("label", 0, "out")]]),
        (
            tensor([0.25, 0.75, 0.5, 0.5], [2, 2]),
            [[("vector", (0.25, 0.75), "out")], [("vector", (0.5, 0.5), "out")]],
        ),
        (tensor([[0.25, 0.75]], [1, 2], "FP64"), [[("vector", (0.25, 0.75), "out")]]),
        (tensor([[[1.5, -2], [3, 4]]], [1, 2, 2]), [[("embedding", (1.5, -2.0, 3.0, 4.0), "out")]]),
        (tensor(["cat", "x" * 99], [2], "BYTES"), [[("label", "cat", "out")], [("text", "x" * 99, "out")]]),
        (tensor(["a", "b"], [1, 2], "BYTES"), [[("text", "a\nb", "out")]]),
        (tensor([True], [1], "BOOL"), [[("label", True, "out")]]),
        (tensor([0.5], []), [[("score", 0.5, "out")]]),
        (tensor([], [0, 2]), []),
    ],
)
def test_a_tensor_gives_one_output_a_row(output: Any, rows: Any) -> None:
    answer = read(answer_of(output), OIP)
    assert (values(answer), answer.unread, answer.error) == (rows, "", "")


def test_several_tensors_stand_beside_each_other() -> None:
    body = answer_of(
        tensor([0.5, 0.75], [2], name="p"),
        tensor(["a", "b"], [2], "BYTES", "c"),
        tensor([7], [1], "INT8", "v"),
    )
    assert values(read(body, OIP)) == [
        [("score", 0.5, "p"), ("label", "a", "c"), ("label", 7, "v")],
        [("score", 0.75, "p"), ("label", "b", "c")],
    ]
    picked = read(body, declared("oip_v2", score="p", label="v"))
    assert values(picked) == [[("score", 0.5, "p"), ("label", 7, "v")], [("score", 0.75, "p")]]
    missing = read(body, declared("oip_v2", score="p", label="nothing"))
    assert ([len(row) for row in missing.rows], missing.unread) == ([1, 1], "missing")


def test_a_declared_tensor_of_whole_numbers_is_a_score() -> None:
    body = answer_of(tensor([3, 1], [2], "INT64"))
    assert values(read(body, declared("oip_v2", score="out"))) == [
        [("number", 3, "out")],
        [("score", 1, "out")],
    ]


@pytest.mark.parametrize(
    ("body", "unread", "error"),
    [
        ({"error": "failed"}, "", "oip_error"),
        (answer_of(tensor([0.5], [1])) | {"error": "failed"}, "", "oip_error"),
        (answer_of(tensor([0.5], [1])) | {"error": ""}, "", ""),
        (answer_of(tensor([None], [1])), "", "not_a_number"),
        (answer_of(tensor([float("nan")], [1])), "", "not_a_number"),
        (answer_of(tensor([0.5, float("inf")], [1, 2])), "", "not_a_number"),
        (answer_of(tensor([None], [1], "BYTES")), "missing", ""),
        (answer_of(tensor([0.5], [2])), "shape", ""),
        (answer_of(tensor([0.5], [-1])), "shape", ""),
        (answer_of(tensor([0.5], [True])), "shape", ""),
        (answer_of(tensor([0.5], ["1"])), "shape", ""),
        (answer_of(tensor([0.5], [1 << 31])), "shape", ""),
        (answer_of(tensor([], [1 << 30, 0])), "shape", ""),
        (answer_of(tensor(0.5, [1])), "shape", ""),
        (answer_of(tensor([0.5], [1], name=7)), "shape", ""),  # type: ignore[arg-type]
        (answer_of(tensor(None, [1])), "missing", ""),
        (answer_of(tensor([0.5], [1], "FP8")), "type", ""),
        (answer_of(tensor([{}], [1])), "type", ""),
        (answer_of(tensor([0.5] * 4097, [1, 4097])), "size", ""),
        (answer_of(*[tensor([0.5], [1])] * 257), "size", ""),
        (answer_of(7), "shape", ""),
        ({"outputs": 7}, "shape", ""),
        ({}, "shape", ""),
        ([], "shape", ""),
    ],
)
def test_errors_and_what_is_not_read(body: Any, unread: str, error: str) -> None:
    answer = read(body, OIP)
    assert (answer.unread, answer.error) == (unread, error)


def packed(datatype: str, shape: list[int], data: bytes, name: str = "out") -> tuple[dict[str, Any], bytes]:
    return {
        "name": name,
        "shape": shape,
        "datatype": datatype,
        "parameters": {"binary_data_size": len(data)},
    }, data


def read_binary(*tensors: tuple[dict[str, Any], bytes], length: str = "", prediction: Any = OIP) -> Any:
    head = json.dumps(answer_of(*[output for output, _ in tensors])).encode()
    field = f"Inference-Header-Content-Length: {length or len(head)}\r\n".encode()
    return read(head + b"".join(data for _, data in tensors), prediction, head=field)


def texts(*said: bytes) -> bytes:
    return b"".join(len(text).to_bytes(4, "little") + text for text in said)


@pytest.mark.parametrize(
    ("datatype", "data", "found"),
    [
        ("BOOL", b"\1\0", [True, False]),
        ("UINT8", b"\xff\1", [255, 1]),
        ("UINT16", struct.pack("<2H", 65535, 1), [65535, 1]),
        ("UINT32", struct.pack("<2I", 2**32 - 1, 1), [2**32 - 1, 1]),
        ("UINT64", struct.pack("<2Q", 2**64 - 1, 1), [2**64 - 1, 1]),
        ("INT8", b"\xff\1", [-1, 1]),
        ("INT16", struct.pack("<2h", -2, 1), [-2, 1]),
        ("INT32", struct.pack("<2i", -3, 1), [-3, 1]),
        ("INT64", struct.pack("<2q", -4, 1), [-4, 1]),
        ("FP16", struct.pack("<2e", 0.5, -2), [0.5, -2]),
        ("BF16", b"\x00\x3f\x00\xc0", [0.5, -2]),
        ("FP32", struct.pack("<2f", 0.5, -2), [0.5, -2]),
        ("FP64", struct.pack("<2d", 0.1, -2), [0.1, -2]),
        ("BYTES", texts(b"cat", "é".encode()), ["cat", "é"]),
    ],
)
def test_each_datatype_behind_the_json(datatype: str, data: bytes, found: list[Any]) -> None:
    answer = read_binary(packed(datatype, [2], data))
    assert ([row[0].value for row in answer.rows], answer.unread) == (found, "")


def test_tensors_take_their_bytes_in_order_and_some_are_json() -> None:
    answer = read_binary(
        packed("FP32", [1, 2], struct.pack("<2f", 0.25, 0.75), "p"),
        (tensor([7], [1], "INT32", "v"), b""),
        packed("BYTES", [1], texts(b"low"), "c"),
    )
    assert values(answer) == [[("vector", (0.25, 0.75), "p"), ("label", 7, "v"), ("label", "low", "c")]]


@pytest.mark.parametrize(
    ("output", "unread", "error"),
    [
        (packed("FP32", [1], struct.pack("<f", float("nan"))), "", "not_a_number"),
        (packed("FP16", [1], struct.pack("<e", float("inf"))), "", "not_a_number"),
        (packed("FP32", [2], struct.pack("<f", 0.5)), "shape", ""),
        (packed("FP32", [1], b"\0\0\0"), "shape", ""),
        (packed("BF16", [1], b"\0"), "shape", ""),
        (packed("BYTES", [1], b"\0\0\0"), "shape", ""),
        (packed("BYTES", [1], b"\xff\xff\xff\xffab"), "shape", ""),
        (packed("BYTES", [1], texts(b"\xff")), "utf8", ""),
        (packed("FP4", [1], b"\0"), "type", ""),
    ],
)
def test_what_is_wrong_behind_the_json(output: Any, unread: str, error: str) -> None:
    answer = read_binary(output)
    assert (answer.unread, answer.error) == (unread, error)


@pytest.mark.parametrize("size", [-1, 5, 10**30, True, "4", 4.0])
def test_a_size_that_is_not_there(size: Any) -> None:
    output, data = packed("FP32", [1], struct.pack("<f", 0.5))
    output["parameters"]["binary_data_size"] = size
    assert read_binary((output, data)).unread == "shape"


@pytest.mark.parametrize("length", ["x", "-1", "1.5", "9" * 40, "99999"])
def test_a_length_of_the_json_that_is_not_there(length: str) -> None:
    assert read_binary(packed("FP32", [1], b"\0\0\0\0"), length=length).unread == "shape"
