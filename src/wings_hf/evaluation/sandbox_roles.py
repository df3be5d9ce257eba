# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
What the two processes of the sandbox do: one runs the program, the other its tests. Imports nothing of this package.

The program never sees the tests, and nothing of it gets into the process that judges. A test asks for what the program
defines by name; calls go to the program's process and values come back as JSON. Values of built-in types are values on
both sides; of anything else the judge holds a `Remote`, which is equal to nothing but itself.
"""

import ast
import builtins
import datetime
import decimal
import fractions
import importlib
import json
import sys

PLAIN = (tuple, set, frozenset)
VALUES = {
    each.__name__: each
    for each in (
        *(decimal.Decimal, fractions.Fraction),
        *(datetime.date, datetime.datetime, datetime.time, datetime.timedelta),
    )
}


class Stopped(Exception):
    """The other process ended, or said what cannot be understood."""


# ---- values -------------------------------------------------------------------------------------------------------
def encode(value, other):
    """A value as JSON takes it; `other` says what stands for one of no built-in type."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, list):
        return [encode(item, other) for item in value]
    if isinstance(value, dict):
        return {"dict": [[encode(key, other), encode(item, other)] for key, item in value.items()]}
    for kind in PLAIN:
        if isinstance(value, kind):
            return {kind.__name__: [encode(item, other) for item in value]}
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if isinstance(value, range):
        return {"range": [value.start, value.stop, value.step]}
    if type(value) in VALUES.values():
        return {"value": [type(value).__name__, encode(list(value.__reduce__()[1]), other)]}
    return other(value)


def decode(said, other):
    """What `encode` made; `other` gives what stands for {kind: content} of any other kind."""
    if isinstance(said, list):
        return [decode(item, other) for item in said]
    if not isinstance(said, dict):
        return said
    ((kind, content),) = said.items()
    if kind == "dict":
        return {decode(key, other): decode(item, other) for key, item in content}
    for plain in PLAIN:
        if kind == plain.__name__:
            return plain(decode(content, other))
    if kind == "bytes":
        return bytes.fromhex(content)
    if kind == "complex":
        return complex(*content)
    if kind == "range":
        return range(*content)
    if kind == "value":
        return VALUES[content[0]](*decode(content[1], other))
    return other(kind, content)


# ---- the program's process ----------------------------------------------------------------------------------------
class Program:
    """Runs the program, then does what the judge asks. Objects that are no values stay here, by number."""

    def __init__(self, requests, answers):
        self.requests, self.answers, self.names, self.objects = requests, answers, {"__name__": "__main__"}, []

    def serve(self, job):
        self.requests.readline()  # the judge is shut off from here on
        self.say(self.tried(lambda: self.begin(job["setup"], job["code"])))
        for line in self.requests:
            self.say(self.tried(lambda asked=line: self.do(*decode(json.loads(asked), self.mine))))

    def begin(self, setup, code):
        try:
            exec(compile(setup, "<setup>", "exec"), self.names)
        except Exception:  # it may need what the program defines: the judge runs it once more
            self.names = {"__name__": "__main__"}
        exec(compile(code, "<program>", "exec"), self.names)

    def do(self, action, subject, *arguments):
        return getattr(self, f"do_{action}")(subject, *arguments)

    def do_name(self, name):
        value = self.names[name]
        home = getattr(value, "__module__", None) or ""
        if isinstance(value, type(sys)) and value.__name__ in sys.stdlib_module_names:
            return Import(value.__name__, None)
        if home in sys.stdlib_module_names and home != "builtins" and getattr(value, "__name__", None) == name:
            return Import(home, name)
        return value

    def do_names(self, names):
        return [name for name in names if name in self.names]

    def do_call(self, subject, positional, named):
        return subject(*positional, **named)

    def do_get(self, subject, name):
        return getattr(subject, name)

    def do_set(self, subject, name, value):
        setattr(subject, name, value)

    def do_item(self, subject, key):
        return subject[key]

    def do_len(self, subject):
        return len(subject)

    def do_bool(self, subject):
        return bool(subject)

    def do_str(self, subject):
        return str(subject)

    def do_iter(self, subject):
        return iter(subject)

    def do_next(self, subject):
        for item in subject:
            return [item]
        return []

    def mine(self, kind, content):
        return self.objects[content]

    def shown(self, value):
        if isinstance(value, Import):
            return {"import": [value.module, value.name]}
        self.objects.append(value)
        return {"object": len(self.objects) - 1}

    def tried(self, action):
        try:
            return {"is": encode(action(), self.shown)}
        except BaseException as error:  # SystemExit is no success
            return {"failed": type(error).__name__}

    def say(self, answer):
        self.answers.write(json.dumps(answer).encode() + b"\n")
        self.answers.flush()


class Import:
    """A module of the standard library, or what it calls by the name that the program does: the judge has its own."""

    def __init__(self, module, name):
        self.module, self.name = module, name


# ---- the judge's process ------------------------------------------------------------------------------------------
class Judge:
    """Runs the tests. All that it knows of the program goes through `ask`."""

    def __init__(self, requests, answers):
        self.requests, self.answers = requests, answers

    def verdict(self, job):
        """ "passed", "failed KIND" or "stopped"."""
        try:
            self.requests.write(b"\n")
            self.requests.flush()
            self.heard()  # whether the program ran to its end
            names = self.known(*spoken_of([*job["tests"], job["setup"]]))
            for part in (job["setup"], *job["tests"]):
                exec(compile(part, "<tests>", "exec"), names)
        except Stopped:
            return "stopped"
        except BaseException as error:
            return f"failed {type(error).__name__}"
        return "passed"

    def known(self, names, bases):
        """What the tests speak of, as far as the program has it; of modules, the judge's own."""
        found = {"__name__": "__main__"}
        for name in self.ask("names", names):
            value = self.ask("name", name)
            if isinstance(value, Remote) and name in bases and name in sys.stdlib_module_names:
                value = importlib.import_module(name)
            if name in names:
                found[name] = value
        return found

    def ask(self, action, subject, *arguments):
        said = json.dumps([encode(each, theirs) for each in (action, subject, *arguments)])
        try:
            self.requests.write(said.encode() + b"\n")
            self.requests.flush()
        except OSError:
            raise Stopped from None
        return self.heard()

    def heard(self):
        line = self.answers.readline()
        try:
            ((kind, content),) = json.loads(line).items()
            if kind == "is":
                return decode(content, self.shown)
            failure = str(content)
        except Exception:  # whatever the program wrote there
            raise Stopped from None
        raise failed(failure)

    def shown(self, kind, content):
        if kind == "object":
            return Remote(self, int(content))
        if kind == "import" and content[0] in sys.stdlib_module_names:
            module = importlib.import_module(content[0])
            return module if content[1] is None else getattr(module, content[1])
        raise Stopped


class Remote:
    """An object of the program's process."""

    def __init__(self, judge, number):
        self.__dict__.update(_judge=judge, _number=number)

    def _do(self, action, *arguments):
        return self._judge.ask(action, self, *arguments)

    def __call__(self, *positional, **named):
        return self._do("call", list(positional), named)

    def __getattr__(self, name):
        return self._do("get", name)

    def __setattr__(self, name, value):
        self._do("set", name, value)

    def __getitem__(self, key):
        return self._do("item", key)

    def __len__(self):
        return self._do("len")

    def __bool__(self):
        return self._do("bool")

    def __str__(self):
        return self._do("str")

    def __iter__(self):
        items = self._do("iter")
        while found := items._do("next"):
            yield found[0]


def theirs(value):
    if isinstance(value, Remote):
        return {"object": value._number}
    raise TypeError(f"{type(value).__name__} cannot be given to the program: it runs in a process of its own.")


def failed(name):
    """The program's exception: of Python's own kind where it has one of this name."""
    kind = getattr(builtins, name, None)
    if isinstance(kind, type) and issubclass(kind, BaseException):
        return kind.__new__(kind)
    return type(name, (Exception,), {})()


def spoken_of(parts):
    """
    Names that the tests may take from the program, and those of which they take attributes. Python's own are not taken
    (`abs` could be another), unless the tests call nothing else: then the program was asked to define one.

    None of a part that does not parse, which fails when it is run.
    """
    nodes: list = []
    for part in parts:
        try:
            nodes += ast.walk(ast.parse(part))
        except SyntaxError:
            continue
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    called = {node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    bases = {node.value.id for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)}
    if any(not hasattr(builtins, name) for name in called):
        names = {name for name in names if not hasattr(builtins, name)}
    return sorted(name for name in names if not name.startswith("__")), sorted(bases)
