"""Every command and option of `crossfade`."""

from __future__ import annotations

import argparse
import os

from crossfade.cli.exits import EPILOG
from crossfade.cli.file_arguments import add_for_files
from crossfade.cli.live_arguments import add_live
from crossfade.cli.parsing import Commands, add, add_challenger, add_dry_run, add_force, admin_options

_STATE = "crossfade.db"  # the default of `state` in the configuration

_VERBS = {
    "promote": "make the challenger the champion, now",
    "abort": "end the rollout; the champion gets all traffic",
    "rollback": "after a promote: the former champion returns",
    "pause": "stop at the current step",
    "resume": "continue a paused rollout, or approve the step that waits for approval",
    "retry": "start a new attempt after an abort or a rollback",
    "restart": "start a new attempt from the first step, from any phase; the champion gets all traffic",
}


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="crossfade",
        description="A traffic-splitting reverse proxy for versions of a model.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_local(commands)
    _add_remote(commands, admin_options())
    return parser


def _add_local(commands: Commands[argparse.ArgumentParser]) -> None:
    run = add(commands, "run", "local.run", "serve with this configuration")
    run.add_argument("file", metavar="FILE")
    run.add_argument(
        "--takeover",
        action="store_true",
        help="take over from the running proxy with the same state, without losing a request",
    )
    check = add(commands, "check", "local.check", "report every problem in configuration files")
    check.add_argument("files", metavar="FILE", nargs="+", help="- reads standard input")
    check.add_argument("--json", action="store_true", help="print JSON")
    add_for_files(commands)
    replay = add(
        commands,
        "replay",
        "local.replay",
        "compute the journal's decisions again with this version and compare",
    )
    replay.add_argument("--state", metavar="FILE", default=_STATE, help=f"the database (default: {_STATE})")
    replay.add_argument("--json", action="store_true", help="print JSON")
    _add_demo(commands)
    _add_token(commands)
    add(commands, "schema", "local.schema", "print the JSON Schema of the configuration")
    number = add(commands, "version", "local.version", "print the version")
    number.add_argument("--json", action="store_true", help="print JSON")


def _add_demo(commands: Commands[argparse.ArgumentParser]) -> None:
    demo = add(
        commands,
        "demo",
        "local.demo",
        "run three rollouts on this machine, with real models and simulated customers, or another story",
    )
    demo.add_argument(
        "--story",
        choices=("rollouts", "drift", "tour"),
        default="rollouts",
        help="drift: the world changes, and a new model is trained, tried and promoted; tour: the ways to deploy a version, one "
        "after the other (default: rollouts)",
    )
    demo.add_argument(
        "--tour", dest="story", action="store_const", const="tour", help="the same as --story=tour"
    )
    demo.add_argument(
        "--keep",
        action="store_true",
        help="keep the proxy and the models running until Ctrl-C; should one of them end, say which, with exit code 1",
    )


def _add_token(commands: Commands[argparse.ArgumentParser]) -> None:
    token = add(
        commands,
        "token",
        "local.token",
        "print a signed token with which a tester selects the backend of a route",
    )
    token.add_argument("--json", action="store_true", help="print it with its end as JSON")
    token.add_argument("route", metavar="ROUTE")
    token.add_argument("backend", metavar="BACKEND")
    token.add_argument(
        "--expires", metavar="TIME", default="1h", help="how long the token is valid (default: 1h)"
    )
    source = token.add_mutually_exclusive_group()
    source.add_argument(
        "--config", metavar="FILE", help="read the secret from this configuration, and check the names"
    )
    source.add_argument(
        "--secret",
        default=os.environ.get("CROSSFADE_OVERRIDE_SECRET", ""),
        help="the secret itself (default: CROSSFADE_OVERRIDE_SECRET)",
    )


def _add_remote(commands: Commands[argparse.ArgumentParser], admin: argparse.ArgumentParser) -> None:
    add_live(commands, admin)
    split = add(commands, "split", "remote.split", "set the weights of a route", admin)
    split.add_argument("route", metavar="ROUTE")
    split.add_argument(
        "weights", metavar="BACKEND=WEIGHT", nargs="+", help="such as v2=95%% v3=5%%, or v2=19 v3=1"
    )
    add_force(split)
    add_dry_run(split)
    for verb, about in _VERBS.items():
        command = add(commands, verb, "remote.command", about, admin)
        command.set_defaults(verb=verb)
        command.add_argument("route", metavar="ROUTE")
        add_challenger(command)
        command.add_argument("--reason", default="", help="for the journal")
        add_force(command)
        add_dry_run(command)
    why = add(
        commands, "why", "remote.why", "show the last decision on a route, and what would change it", admin
    )
    why.add_argument("route", metavar="ROUTE")
    add_challenger(why)
    _add_value(commands, admin)
    page = add(
        commands,
        "report",
        "report_page.report",
        "write what is known of a challenger as one HTML page, or as JSON",
        admin,
    )
    page.add_argument("route", metavar="ROUTE")
    add_challenger(page)
    page.add_argument("-o", "--output", metavar="FILE", default="", help="(default: standard output)")
    _add_feedback(commands, admin)
    _add_baseline(commands, admin)
    _add_drain(commands, admin)
    _add_retrain(commands, admin)
    _add_notify(commands, admin)
    add_force(add(commands, "reload", "remote.reload", "read the configuration file again", admin))
    diff = add(commands, "diff", "remote.diff", "show what a file would do to the running proxy", admin)
    diff.add_argument("file", metavar="FILE", help="- reads standard input")
    add(
        commands,
        "export",
        "remote.export",
        "print the configuration as the state has it, such as after a promote; secrets are shown as ***",
        admin,
    )


def _add_retrain(commands: Commands[argparse.ArgumentParser], admin: argparse.ArgumentParser) -> None:
    retrain = add(
        commands,
        "retrain",
        "remote.retrain",
        "have the model of a route trained again, by whoever `retrain` in the file names",
        admin,
    )
    retrain.add_argument("route", metavar="ROUTE")
    retrain.add_argument("--reason", default="", help="for the journal")


def _add_notify(commands: Commands[argparse.ArgumentParser], admin: argparse.ArgumentParser) -> None:
    notify = add(
        commands,
        "notify",
        "remote.notify",
        "show who is told what happens, and what waits for each receiver; or test them",
        admin,
    )
    notify.add_argument("--test", action="store_true", help="send a test message to each receiver")
    notify.add_argument(
        "--route", metavar="ROUTE", default="", help="with --test: only those that are told of this route"
    )


def _add_baseline(commands: Commands[argparse.ArgumentParser], admin: argparse.ArgumentParser) -> None:
    profile = add(
        commands,
        "baseline",
        "baseline.baseline",
        "give a route the profile that live traffic is compared with, or print it",
        admin,
    )
    profile.add_argument("route", metavar="ROUTE")
    profile.add_argument(
        "--from",
        dest="source",
        metavar="FILE",
        default="",
        help="training rows: .csv, .ndjson, .json or .parquet; or live: the next requests",
    )
    profile.add_argument("--score", metavar="COLUMN", default="", help="the column with the model's scores")
    profile.add_argument(
        "--drop", metavar="COLUMN", action="append", default=[], help="a column that is no input"
    )
    profile.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        default="",
        help="write the profile there, and ask no proxy to use it",
    )


def _add_feedback(commands: Commands[argparse.ArgumentParser], admin: argparse.ArgumentParser) -> None:
    rows = add(
        commands,
        "feedback",
        "feedback.feedback",
        "send what became known of predictions, such as labels",
        admin,
    )
    rows.add_argument("file", metavar="FILE", help=".csv, .ndjson, .json or .parquet; - reads NDJSON")
    rows.add_argument("--route", default="", help="of rows that do not name theirs")
    rows.add_argument("--name", default="", help="of rows without a name (default: label)")
    rows.add_argument(
        "--column",
        metavar="FIELD=COLUMN",
        action="append",
        default=[],
        help="read a field from this column, and no columns that are not named so",
    )


def _add_value(commands: Commands[argparse.ArgumentParser], admin: argparse.ArgumentParser) -> None:
    value = add(
        commands,
        "value",
        "remote.value",
        "estimate from the prediction log what another split of a route would have been worth",
        admin,
    )
    value.add_argument("route", metavar="ROUTE")
    value.add_argument(
        "--if",
        dest="rules",
        metavar="RULE",
        action="append",
        required=True,
        help="such as 'churn-v3=50%%', or by segment 'country=DE: churn-v3=100%%'; the first that matches counts",
    )
    value.add_argument(
        "--name", metavar="NAME", default="label", help="of the feedback, such as revenue (default: label)"
    )
    value.add_argument(
        "--measure",
        choices=("kpi", "accuracy"),
        help="kpi: the number itself; accuracy: was the answer right? (default: accuracy for label, else kpi)",
    )
    value.add_argument("--since", metavar="TIME", help="only predictions from this time on")


def _add_drain(commands: Commands[argparse.ArgumentParser], admin: argparse.ArgumentParser) -> None:
    drain = add(
        commands,
        "drain",
        "remote.drain",
        "send no new requests to an endpoint, so that it can be stopped",
        admin,
    )
    drain.add_argument("--force", action="store_true", help="also the last available endpoint of its backend")
    drain.add_argument(
        "--wait",
        metavar="TIMEOUT",
        default="",
        help="return when nothing is in flight there any more, or after this time with exit code 5, such as 60s",
    )
    undrain = add(commands, "undrain", "remote.undrain", "send requests to a drained endpoint again", admin)
    for command in (drain, undrain):
        command.add_argument("backend", metavar="BACKEND")
        command.add_argument(
            "endpoint", metavar="ENDPOINT", help="its name or URL, as `crossfade status` shows it"
        )
        command.add_argument("--reason", default="", help="for the journal")
