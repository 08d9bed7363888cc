"""The tokens of the admin API as written. The mark » is at the place that the message must name."""

from __future__ import annotations

import pytest

from crossfade.config.load import load
from crossfade.control.disagreement import restart_needed
from tests.config.sample import assert_errors, errors, loaded, text, warnings

A, B = "token-of-alice-1", "token-of-berta-1"
ALICE = f"{{name: alice, role: operator, token: {A}}}"
BERTA = f"{{name: berta, role: viewer, token: {B}}}"


def admin(written: str) -> str:
    return text(top=f"admin: {{{written}}}")


def test_tokens_have_names_and_roles() -> None:
    tokens = loaded(admin(f"tokens: [{ALICE}, {BERTA}]")).config.admin.tokens
    assert [(each.name, each.role, each.token) for each in tokens] == [
        ("alice", "operator", A),
        ("berta", "viewer", B),
    ]
    (one,) = loaded(admin(f"tokens: {ALICE}")).config.admin.tokens
    assert one.name == "alice"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (
            f"tokens: [{{name: »loop, role: viewer, token: {A}}}]",
            'admin.tokens[0].name: must be another name: the journal has the actor "loop" for what no person did',
        ),
        (
            f"tokens: [{{name: »a b, role: viewer, token: {A}}}]",
            "admin.tokens[0].name: must be a name of letters, digits, hyphens, dots and underscores, "
            'not "a b"; did you mean "a-b"?',
        ),
        (
            f"tokens: [{{name: a, role: »admin, token: {A}}}]",
            'admin.tokens[0].role: must be viewer, feedback or operator, not "admin"',
        ),
        (
            "tokens: [{name: a, role: viewer, token: »secret-of-a}]",
            "admin.tokens[0].token: must be at least 16 characters long, such as from openssl rand -hex 32",
        ),
        (
            "tokens: [{name: a, role: viewer, token: »'sixteen chars and more'}]",
            "admin.tokens[0].token: must not hold spaces and control characters, which no caller could send",
        ),
        (
            f"tokens: [{ALICE}, {BERTA.replace('berta, ', '»alice, ')}]",
            'admin.tokens[1].name: the token in line 2 has the name "alice" too',
        ),
        (
            f"tokens: [{ALICE}, {BERTA.replace(B, '»' + A)}]",
            "admin.tokens[1].token: must be another token than the one in line 2",
        ),
        (
            f"token: {A}, tokens: [{ALICE.replace(A, '»' + A)}]",
            "admin.tokens[0].token: must be another token than the one in line 2",
        ),
        (
            "listen: '0.0.0.0:1', tokens: »[]",
            "admin.tokens: a token is required, since admin.listen is not a loopback address",
        ),
    ],
)
def test_a_token_that_cannot_be_used(written: str, expected: str) -> None:
    assert_errors(admin(written), expected)


@pytest.mark.parametrize(
    "given", ["name: a, role: viewer", f"name: a, token: {A}", f"role: viewer, token: {A}"]
)
def test_each_token_has_all_three(given: str) -> None:
    assert len(errors(admin(f"tokens: [{{{given}}}]"))) == 1


def test_tokens_do_off_loopback_what_the_single_token_does() -> None:
    assert errors(admin(f"listen: '0.0.0.0:1', tokens: [{ALICE}]")) == []
    assert errors(admin(f"listen: '0.0.0.0:1', token: '', tokens: [{ALICE}]")) == []


def test_a_short_token_can_be_guessed() -> None:
    assert warnings(admin("token: s3cret")) == [
        "2:16: warning: admin.token: is shorter than 16 characters, so it can be guessed; make one with openssl rand -hex 32"
    ]
    assert warnings(admin("token: 0123456789abcdef")) == []


def test_no_message_tells_whether_two_variables_are_equal() -> None:
    """A client of the admin API could try tokens so."""
    written = admin("token: '${X}', tokens: [{name: a, role: viewer, token: '${Y}'}, " + BERTA + "]")
    told = {
        str(load(written, "f.yaml", {"X": x, "Y": y}).warnings) for x, y in ((A, A), (A, B), (B, B), ("t", A))
    }
    assert len(told) == 1


def test_a_reload_needs_no_restart_for_tokens() -> None:
    before = loaded(admin(f"tokens: [{ALICE}]")).config
    assert restart_needed(before, loaded(admin(f"tokens: [{BERTA}]")).config) == []
    assert restart_needed(before, loaded(admin(f"listen: '127.0.0.1:1', tokens: [{ALICE}]")).config) == [
        "admin"
    ]
