"""What mypyc does not check itself in the classes that it compiles."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def compiled_modules() -> list[ast.Module]:
    names = re.findall(r'^    "(crossfade\.[a-z0-9_.]+)",$', (ROOT / "setup.py").read_text(), re.MULTILINE)
    assert len(names) > 30
    return [ast.parse((ROOT / "proxy" / f"{name.replace('.', '/')}.py").read_text()) for name in names]


def declared(owner: ast.ClassDef) -> set[str]:
    """The attributes whose type the class states, in its body or in a method."""
    annotated = [node.target for node in ast.walk(owner) if isinstance(node, ast.AnnAssign)]
    of_self = {t.attr for t in annotated if isinstance(t, ast.Attribute) and ast.unparse(t.value) == "self"}
    return of_self | {
        n.target.id for n in owner.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)
    }


def test_no_attribute_is_declared_in_a_class_and_in_its_base() -> None:
    """mypyc then visits it twice when it looks for garbage, and CPython clears objects that are in use."""
    classes = {
        node.name: node
        for module in compiled_modules()
        for node in ast.walk(module)
        if isinstance(node, ast.ClassDef)
    }
    twice = {}
    for name, owner in classes.items():
        bases = [ast.unparse(base) for base in owner.bases]
        for base in bases:
            if base in classes:
                bases += [ast.unparse(each) for each in classes[base].bases]
                twice[name, base] = declared(owner) & declared(classes[base])
    assert {pair: names for pair, names in twice.items() if names} == {}
