"""The tokens of the admin API as written. The mark » is at the place that the message must name."""

from __future__ import annotations

import pytest

from crossfade.config.address import listen_here
from crossfade.config.load import load
from crossfade.config.model import BackendTlsConfig
from crossfade.config.problem import ConfigError
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
            f"tokens: [{{name: »Signal, role: viewer, token: {A}}}]",
            'admin.tokens[0].name: must be another name: the journal has the actor "signal" for what no person did',
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


@pytest.mark.parametrize("written", ["unix:/run/a.sock", "unix:///run/a.sock"])
def test_a_unix_socket_is_on_this_machine(written: str) -> None:
    listen = loaded(admin(f"listen: '{written}'")).config.admin.listen
    assert (listen.path, listen.is_loopback, listen.authority) == ("/run/a.sock", True, "unix:/run/a.sock")


def test_sockets_overlap_with_themselves_alone() -> None:
    a, b = (listen_here(f"unix:/run/{name}.sock") for name in "ab")
    assert a.overlaps(a)
    assert not a.overlaps(b)
    assert not a.overlaps(listen_here("127.0.0.1:0"))
    assert not listen_here("127.0.0.1:1").overlaps(a)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (
            "listen: »'unix:a.sock'",
            'admin.listen: must be unix: and an absolute path, as in unix:/run/crossfade.sock, not "unix:a.sock"',
        ),
        (f"listen: »'unix:/{'a' * 107}'", "admin.listen: must have a path of at most 107 bytes"),
        ("listen: 'unix:/a', »tls: {cert: c, key: k}", "admin.tls: must not be given for a unix socket"),
        ("»tls: {cert: c}", 'admin.tls: the key "key" is missing'),
    ],
)
def test_an_admin_listener_that_cannot_be(written: str, expected: str) -> None:
    assert_errors(admin(written), expected)


def test_clients_have_no_unix_socket() -> None:
    assert len(errors("listen: 'unix:/a'\n" + text().partition("\n")[2])) == 1


def test_tls_acts_at_a_start() -> None:
    before = loaded(admin("tls: {cert: c, key: k}")).config
    assert restart_needed(before, loaded(admin("tls: {cert: d, key: k}")).config) == ["admin"]


def test_the_files_of_the_admin_api_are_examined_in_their_place() -> None:
    told: list[str] = []

    def examine(tls: BackendTlsConfig, must_name_host: bool) -> tuple[str, dict[str, str]]:
        told.append(f"{tls.cert} {tls.key} {tls.ca}")
        return "stamp", {"cert" if tls.cert else "ca": "cannot be read"}

    with pytest.raises(ConfigError) as raised:
        load(admin("tls: {cert: c, key: k, client_ca: a}"), "f.yaml", {}, examine)
    assert told == ["c k None", "None None a"]
    assert [problem.path for problem in raised.value.problems] == ["admin.tls.cert", "admin.tls.client_ca"]


def test_a_trainer_elsewhere_does_not_reach_a_unix_socket() -> None:
    route = "retrain: {on: [{schedule: 7d}], webhook: 'http://t/x'}"
    found = warnings(text(top="admin: {listen: 'unix:/a'}", route=route))
    assert len([line for line in found if "nobody elsewhere reaches the unix socket" in line]) == 1
    with_api = route.replace("x'", "x', api: 'http://p:1'")
    assert warnings(text(top="admin: {listen: 'unix:/a'}", route=with_api)) == []
