"""The files that backends name: looked at when a configuration is read, each fault at its place."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from crossfade.config.load import Loaded, load
from crossfade.config.problem import ConfigError
from crossfade.dial import examine
from tests.certificates import Authority

TEXT = """\
listen: :80
backends:
  v2:
    endpoints: https://model
    tls:
      ca: {ca}
      cert: {cert}
      key: {key}
routes: [{{name: r, split: {{v2: 1}}}}]
"""


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    authority = Authority(tmp_path)
    cert, key = authority.files("proxy.internal")
    return {"ca": authority.file, "cert": cert, "key": key}


def loaded(files: dict[str, str]) -> Loaded:
    return load(TEXT.format(**files), "f.yaml", {}, examine)


def faults(files: dict[str, str]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loaded(files)
    return [str(problem) for problem in caught.value.problems]


def test_good_files_have_a_stamp_that_changes_with_them(files: dict[str, str], tmp_path: Path) -> None:
    before = loaded(files)
    assert loaded(files).stamps == before.stamps
    Path(files["ca"]).write_bytes(Path(Authority(tmp_path, "other").file).read_bytes())
    after = loaded(files)
    assert after.stamps.keys() == before.stamps.keys() == {"v2"}
    assert after.stamps != before.stamps
    assert after.hash == before.hash


def test_files_that_are_not_there(files: dict[str, str]) -> None:
    assert faults(files | {"ca": "/none/ca.pem", "key": "/none/key"}) == [
        "f.yaml:6:11: backends.v2.tls.ca: cannot be read: No such file or directory",
        "f.yaml:8:12: backends.v2.tls.key: cannot be read: No such file or directory",
    ]


@pytest.mark.parametrize(
    ("key", "content", "expected"),
    [
        ("ca", "nothing", "6:11: backends.v2.tls.ca: holds no certificate in PEM form: no certificate or crl found"),
        ("ca", "", "6:11: backends.v2.tls.ca: holds no certificate in PEM form: no certificate or crl found"),
        ("cert", "nothing", "8:12: backends.v2.tls.key: certificate and key cannot be used: "),
        ("key", "nothing", "8:12: backends.v2.tls.key: certificate and key cannot be used: "),
    ],
)  # fmt: skip
def test_files_that_hold_something_else(files: dict[str, str], key: str, content: str, expected: str) -> None:
    Path(files[key]).write_text(content)
    (fault,) = faults(files)
    assert fault.startswith(f"f.yaml:{expected}")


def test_a_key_of_another_certificate(files: dict[str, str], tmp_path: Path) -> None:
    _, other = Authority(tmp_path, "other").files("other.internal")
    assert faults(files | {"key": other}) == [
        "f.yaml:8:12: backends.v2.tls.key: certificate and key cannot be used: key values mismatch"
    ]


def test_a_key_with_a_passphrase_does_not_ask_for_it(files: dict[str, str]) -> None:
    key = serialization.load_pem_private_key(Path(files["key"]).read_bytes(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    Path(files["key"]).write_bytes(locked)
    (fault,) = faults(files)
    assert fault.startswith("f.yaml:8:12: backends.v2.tls.key: certificate and key cannot be used: ")


def test_certificate_and_key_in_one_file(files: dict[str, str]) -> None:
    both = Path(files["cert"])
    both.write_bytes(both.read_bytes() + Path(files["key"]).read_bytes())
    text = TEXT.format(**files).replace(f"      key: {files['key']}\n", "")
    assert load(text, "f.yaml", {}, examine).stamps
