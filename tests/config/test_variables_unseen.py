"""What a variable stands for is in no message, and a client of the admin API learns nothing of it in any way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from crossfade.config.document import Mark
from crossfade.config.load import Loaded, load
from crossfade.config.problem import ConfigError, Problem
from crossfade.config.reader import read

FULL = (Path(__file__).parents[2] / "config/examples/full.yaml").read_text("utf-8")
KNOWN = {"CROSSFADE_ADMIN_TOKEN": "t" * 20, "CROSSFADE_OVERRIDE_SECRET": "s" * 20}
# Parts of these are in no text of ours.
WORDS = ("zqxword77", "http://zqxword77:97531/zqxword77?zqxword77", "97531", "-97531.97531%")


def problems_of(
    text: str, env: Mapping[str, str], in_force: Loaded | None = None
) -> tuple[Problem, ...] | str:
    """What a client is told."""
    try:
        loaded = load(text, "f.yaml", env, in_force=in_force)
    except ConfigError as error:
        return error.problems
    return f"{loaded.hash} {loaded.warnings}"


def each_scalar(text: str) -> Iterator[tuple[str, str]]:
    """For each scalar of the text, its place and the text with `${SECRET}` instead of it."""
    for node in read(text, "f.yaml", KNOWN).root.scalars():
        begin, end = node.span
        yield f"{node.mark.line}:{node.mark.column}", text[:begin] + '"${SECRET}"' + text[end:]


def shows(told: object, value: str) -> bool:
    return any(part in str(told).lower() for part in ("zqx", "97531"))


@pytest.mark.parametrize("value", WORDS)
def test_no_message_shows_any_part_of_what_a_variable_stands_for(value: str) -> None:
    """At every fourth scalar of the full example; the four values take turns."""
    told = {
        place: problems_of(text, KNOWN | {"SECRET": value})
        for index, (place, text) in enumerate(each_scalar(FULL))
        if index % len(WORDS) == WORDS.index(value)
    }
    assert len(told) > 30
    assert {place: said for place, said in told.items() if shows(said, value)} == {}
    assert sum("${SECRET}" in str(said) for said in told.values()) > 10, "messages quote what was written"


BASE = """
listen: 127.0.0.1:8080
backends:
  v2: {endpoints: ["http://127.0.0.1:9002"]}
  v3: {endpoints: ["http://127.0.0.1:9003"]}
  v4: {endpoints: ["http://127.0.0.1:9004"]}
routes:
  - name: churn
    split: {v2: 100%}
"""


@pytest.mark.parametrize(
    ("written", "instead", "value"),
    [
        ("listen: 127.0.0.1:8080", 'listen: ["127.0.0.1:8080", "${X}"]', "127.0.0.1:8080"),
        ("listen: 127.0.0.1:8080", 'listen: ["${X}", "127.0.0.1:8080"]', "zqxhost:97531"),
        ("listen: 127.0.0.1:8080", 'listen: ["${X}", "${X}"]', "zqxhost:97531"),
        ("listen: 127.0.0.1:8080", 'listen: &l "${X}"\nadmin: {listen: *l}', "zqxhost:97531"),
        ("9003", "9003/${X}", "zqx"),
        ('["http://127.0.0.1:9003"]', '["http://${X}", "http://${X}"]', "zqxhost:97531"),
        ('["http://127.0.0.1:9003"]', "{a: &x ${X}, b: *x}", "zqx"),
        ("v3:", '"${X}":', "zqx name"),
        ("v3:", '"${X}":', "zqxname"),
        ("split: {v2: 100%}", 'split: {"${X}": 100%}', "zqxname"),
        ("split: {v2: 100%}", 'split: {v2: "${X}", v3: 50%}', "97.531%"),
        ("split: {v2: 100%}", 'split: {v2: "${X}", v3: 50%}', "97.53%"),
        ("split: {v2: 100%}", 'split: {v2: "${X}", v3: 1}', "0.000097531"),
        ("split: {v2: 100%}", 'spilt: {"${X}": 1}', "zqx"),
        ("name: churn", '"${X}": churn', "zqxkey"),
        ("name: churn", 'name: churn\n    "${X}": 1\n    "${X}": 2', "zqxkey"),
        ("name: churn", 'name: churn\n    fallback: "${X}"', "v33zqx"),
        ("name: churn", 'name: churn\n    match: {regex: "${X}"}', "zqx(97531"),
        ("name: churn", 'name: churn\n    match: {headers: {"${X}": a, "${X} ": b}}', "zqx"),
        ("name: churn", 'name: "${X}"\n    split: {v2: 1}\n  - name: "${X}"', "zqxroute"),
        (
            "split: {v2: 100%}",
            "split: {v2: 1}\n    rollout: {strategy: canary, champion: '${X}', challenger: '${X}'}",
            "zqx",
        ),
        (
            "split: {v2: 100%}",
            "split: {v2: 1}\n    rollout: {strategy: canary, champion: v2, challenger: v3, "
            "steps: [{weight: '${X}'}, {weight: 1%}]}",
            "9.75%",
        ),
        (
            "split: {v2: 100%}",
            "split: {v2: 1}\n    rollout: [{strategy: canary, champion: v2, challenger: v3, steps: [{weight: '${X}'}]},"
            " {strategy: canary, champion: v2, challenger: v4, steps: [{weight: 50%}]}]",
            "97.53%",
        ),
    ],
)
def test_no_message_about_several_values_shows_them(written: str, instead: str, value: str) -> None:
    assert written in BASE
    told = problems_of(BASE.replace(written, instead), {"X": value})
    hidden = ("zqx", "97531", "97.53", "9.75", "147.53", "v33")
    assert not any(part in str(told).lower() for part in hidden), told


@pytest.mark.parametrize(
    ("instead", "value", "message"),
    [
        (
            'listen: "${X}"',
            "nonsense",
            'f.yaml:2:9: listen: must name a host of letters, digits, dots and hyphens, not "${X}"',
        ),
        ('listen: "host:${X}"', "99999", 'f.yaml:2:9: listen: must be host:port, not "host:${X}"'),
        (
            'listen: ":8080"\nworkers: ${X}',
            "257",
            'f.yaml:3:10: workers: must be auto or a whole number, not "${X}"',
        ),
        (
            'listen: ":8080"\naccess_log: {to: "${X}"}',
            "",
            "f.yaml:3:18: access_log.to: is not valid with the values of its variables",
        ),
    ],
)
def test_messages_quote_what_was_written(instead: str, value: str, message: str) -> None:
    told = problems_of(BASE.replace("listen: 127.0.0.1:8080", instead), {"X": value})
    assert message in map(str, told)


def test_an_unset_variable_is_named_by_check_and_not_looked_up_for_a_client() -> None:
    text = BASE.replace("127.0.0.1:8080", '"${X}"')
    assert "the environment variable X is not set" in str(problems_of(text, {}))
    for env in ({}, {"X": ":8080"}):
        assert '"${X}" is not looked up: ' in str(problems_of(text, env, load(BASE, "f.yaml", {})))


IN_FORCE = BASE + 'admin: {token: "${SECRET:-}"}\noverride: {secret: "${SECRET}"}\n'
SECRETS = ("sixteen or more characters", "1234567890123456", "127.0.0.1:8080xxxx", "null" * 4)


@pytest.mark.parametrize("in_force", [BASE, IN_FORCE])
def test_a_client_is_told_the_same_whatever_a_secret_is(in_force: str) -> None:
    """With the variable at each scalar, in each of which another value could be tried for."""
    for place, text in each_scalar(IN_FORCE):
        told = []
        for secret in SECRETS:
            env = {"SECRET": secret}
            told.append(problems_of(text, env, load(in_force, "f.yaml", env)))
        assert [said for said in told if said != told[0]] == [], place


@pytest.mark.parametrize(
    "text",
    [
        'override: {secret: &s "${SECRET}"}\nlisten: *s\n' + BASE.replace("listen: 127.0.0.1:8080", ""),
        'override: &s {secret: "${SECRET}"}\nadmin: *s\n' + BASE,
        'override: &s {secret: "${SECRET}"}\nadmin: {<<: *s}\n' + BASE,
        'override: {secret: "${SECRET}", ? "${SECRET}" : 1}\n' + BASE,
        'override: {? "${SECRET}" : 1}\n' + BASE,
        'override: {secret: "${SECRET}x"}\n' + BASE,
        'override: {secret: "${SECRET:-x}"}\n' + BASE,
        'override: {secret: ["${SECRET}"]}\n' + BASE,
        'override: {secret: "${HOME}"}\n' + BASE,
    ],
)
def test_no_detour_lets_a_client_use_a_variable_elsewhere(text: str) -> None:
    told = {
        str(problems_of(text, env, load(IN_FORCE, "f.yaml", env)))
        for env in ({"SECRET": secret, "HOME": secret} for secret in SECRETS)
    }
    assert len(told) == 1
    assert not any(secret in told.pop() for secret in SECRETS[:1])


def test_a_client_may_send_the_text_in_force_and_change_the_rest() -> None:
    env = {"SECRET": "s" * 20}
    in_force = load(IN_FORCE, "f.yaml", env)
    assert load(IN_FORCE, "f.yaml", env, in_force=in_force).hash == in_force.hash
    edited = IN_FORCE.replace("v2: 100%", "v3: 100%")
    assert load(edited, "f.yaml", env, in_force=in_force).config.routes[0].split == {"v3": 10_000}


def test_a_reference_holds_for_each_element_of_its_list() -> None:
    env = {"HOST": "127.0.0.1"}
    text = BASE.replace('"http://127.0.0.1:9002"', '"http://${HOST}:9002"')
    in_force = load(text, "f.yaml", env)
    moved = text.replace('["http://${HOST}', '["http://127.0.0.1:9009", "http://${HOST}')
    assert len(load(moved, "f.yaml", env, in_force=in_force).config.backends["v2"].endpoints) == 2
    other = text.replace('"http://127.0.0.1:9003"', '"http://${HOST}:9002"')
    assert "is not looked up" in str(problems_of(other, env, in_force))


def test_aliases_of_a_reference_are_bounded() -> None:
    """Each alias of a large anchor would be walked through."""
    anchor = ", ".join(['"${X}"'] * 5000)
    text = f"a: &x [{anchor}]\nb: [{', '.join(['*x'] * 5000)}]\n"
    with pytest.raises(ConfigError, match="aliases stand for more than 200000 values"):
        load(text, "f.yaml", {"X": "1"})


def test_a_mark_counts_from_one() -> None:
    assert next(iter(read("a: b", "f", {}).root.scalars())).mark == Mark(1, 4)


def test_a_text_of_a_client_holds_fewer_values() -> None:
    """So that a check of it takes a few seconds at most, whatever is in it."""
    many = BASE + f"x: [{', '.join(['1'] * 50_000)}]"
    assert "unknown key" in str(problems_of(many, {}))
    assert "holds more than 50000 values" in str(problems_of(many, {}, load(BASE, "f.yaml", {})))


def test_the_first_thousand_problems_are_told() -> None:
    told = problems_of(BASE + "".join(f"zqx{n}: 1\n" for n in range(2000)), {})
    assert len(told) == 1001
    assert str(told[-1]).endswith("1002 more problems are not shown")
    assert sum("did you mean" in str(problem) for problem in told) <= 50
