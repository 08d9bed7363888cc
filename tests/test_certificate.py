"""What is read from certificates: the names and the end that OpenSSL finds, and nothing of what is none."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from crossfade.certificate import end_of, ends_in, names_of

SAMPLE = trustme.CA().issue_cert("a.test", "*.b.test", "10.0.0.1").cert_chain_pems[0].bytes()


def ending(end: datetime) -> bytes:
    return trustme.CA().issue_cert("a.test", not_after=end).cert_chain_pems[0].bytes()


@given(st.binary(max_size=400), st.integers(0, 2000), st.integers(0, 2000))
def test_whatever_is_in_a_file_it_is_read_or_says_nothing(noise: bytes, start: int, end: int) -> None:
    """Mutations of a certificate, in PEM form again."""
    der = ssl.PEM_cert_to_DER_cert(SAMPLE.decode())
    mutated = der[: start % len(der)] + noise + der[end % len(der) :]
    pem = ssl.DER_cert_to_PEM_cert(mutated).encode()
    for name in names_of(pem):
        assert name == name.lower()
    assert ends_in(pem) == ([] if end_of(mutated) is None else [end_of(mutated)])
    for text in (noise, SAMPLE[: start % len(SAMPLE)] + noise):
        names_of(text)
        ends_in(text)
    end_of(noise)


def test_the_names_of_a_certificate_are_those_that_openssl_finds() -> None:
    assert names_of(SAMPLE) == ("a.test", "*.b.test")


@pytest.mark.parametrize(
    "end",
    [
        datetime(2027, 2, 28, 23, 59, 59, tzinfo=UTC),
        datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC),  # the last in two digits
        datetime(2050, 1, 1, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC),
    ],
)
def test_the_end_of_a_certificate_is_the_one_it_was_issued_with(end: datetime) -> None:
    pem = ending(end)
    assert ends_in(pem) == [end.timestamp()]
    assert end_of(ssl.PEM_cert_to_DER_cert(pem.decode())) == end.timestamp()


def test_each_certificate_of_a_file_has_an_end_up_to_the_first_that_is_broken() -> None:
    first, second = (ending(datetime(year, 1, 1, tzinfo=UTC)) for year in (2030, 2031))
    ends = [datetime(year, 1, 1, tzinfo=UTC).timestamp() for year in (2030, 2031)]
    assert ends_in(b"# a chain\n" + first + second) == ends
    assert ends_in(first + second[:-40]) == ends[:1]
    assert ends_in(b"no certificate") == []
