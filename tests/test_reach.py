"""However a variant's code calls a function of the machine, it is the linked one, or refused."""

from pathlib import Path

import pytest

from variants.catalogue import VariantError, load_file
from variants.link import machine_of
from variants.machine.machine import initial_vcpu
from variants.machine.step import Step

FILE = """
import contextlib
import functools
import typing
from variants.machine import svm
from variants.machine.vcpu import Vcpu
from variants.variant import Variant, replaces


@replaces(svm.svm_set_gif)
def svm_set_gif(vcpu, value):
    vcpu.gif = True


def helper(vcpu):
    svm.svm_set_gif(vcpu, False)


def around(function):
    @functools.wraps(function)
    def inner(*arguments):
        return function(*arguments)
    return inner


{there}


@replaces(svm.clgi_interception)
def clgi_interception(vcpu):
    {call}


ALSO = (stgi,) if "stgi" in globals() else ()
VARIANT = Variant("mine", "GIF is always set", (svm_set_gif, clgi_interception, *ALSO))
"""
HELPERS = {
    "helper_one.py": "from variants.machine import svm\ndef go(v): svm.svm_set_gif(v, False)\n",
    "helper_two.py": "import helper_one\ndef go(v): helper_one.go(v)\n",
    "helper_three.py": "from helper_one import go as went\ndef go(v): went(v)\n",
    "helper_all.py": "from variants.machine.svm import *\ndef go(v): svm_set_gif(v, False)\n",
    "helper_late.py": "def go(v):\n    from variants.machine import svm\n"
    "    svm.svm_set_gif(v, False)\n",
    "helpers/__init__.py": "from helpers.inside import go\n",
    "helpers/inside.py": "from variants.machine.svm import svm_set_gif as it\n"
    "def go(v): it(v, False)\n",
}
LINKED = {
    "by its module": ("", "svm.svm_set_gif(vcpu, False)"),
    "by another name": ("from variants.machine.svm import svm_set_gif as g", "g(vcpu, False)"),
    "of a renamed module": ("import variants.machine.svm as s", "s.svm_set_gif(vcpu, False)"),
    "by a path": ("import variants.machine.svm", "variants.machine.svm.svm_set_gif(vcpu, False)"),
    "of the package": ("from variants import machine", "machine.svm.svm_set_gif(vcpu, False)"),
    "of everything": ("import helper_all", "helper_all.go(vcpu)"),
    "its replacement": ("", "svm_set_gif(vcpu, False)"),
    "a helper": ("", "helper(vcpu)"),
    "a module": ("import helper_one", "helper_one.go(vcpu)"),
    "a module's module": ("import helper_two", "helper_two.go(vcpu)"),
    "a module's function's": ("from helper_three import go", "go(vcpu)"),
    "a package": ("import helpers.inside", "helpers.inside.go(vcpu)"),
    "a package's name": ("import helpers", "helpers.go(vcpu)"),
    "a closure": ("g = around(svm.svm_set_gif)", "g(vcpu, False)"),
    "a decorated helper": ("g = around(around(helper))", "g(vcpu)"),
    "a decorator of Python's": (
        "@contextlib.contextmanager\ndef held(v):\n    helper(v)\n    yield",
        "\n    with held(vcpu): pass",
    ),
    "a lambda": ("g = lambda v: svm.svm_set_gif(v, False)", "g(vcpu)"),
    "a lambda inside": ("", "(lambda: svm.svm_set_gif(vcpu, False))()"),
    "a generator": ("", "list(svm.svm_set_gif(vcpu, one) for one in [False])"),
    "a default": ("def g(v, f=helper, *, w=svm.svm_set_gif): f(v); w(v, False)", "g(vcpu)"),
    "an attribute": ("helper.it = svm.svm_set_gif", "helper.it(vcpu, False)"),
    "a text": ("", "getattr(svm, 'svm_' + 'set_gif')(vcpu, False)"),
    "executed text": ("n = {'f': helper}; exec('def g(v): f(v)', n); g = n['g']", "g(vcpu)"),
    "a decorated replacement": (
        "@replaces(svm.stgi_interception)\n@around\ndef stgi(vcpu):\n"
        "    svm.stgi_interception(vcpu)\n    vcpu.gif = False\n",
        "vcpu.gif = False; svm.svm_set_gif(vcpu, False)",
    ),
}
HELD = {
    "a list": ("T = [svm.svm_set_gif]", "T[0](vcpu, False)"),
    "a list of helpers": ("T = [helper]", "T[0](vcpu)"),
    "a table of tables": ("T = {'a': {'b': svm.svm_set_gif}}", "T['a']['b'](vcpu, False)"),
    "a partial": ("g = functools.partial(helper)", "g(vcpu)"),
    "a cache": ("@functools.cache\ndef g(): return svm.svm_set_gif", "g()(vcpu, False)"),
    "a dispatch": ("g = functools.singledispatch(helper)", "g(vcpu)"),
    "a class": ("class K:\n    it = svm.svm_set_gif", "K.it(vcpu, False)"),
    "a method": ("class K:\n    def go(self, v): helper(v)", "K().go(vcpu)"),
    "a static method": ("class K:\n    @staticmethod\n    def go(v): helper(v)", "K.go(vcpu)"),
    "a property": ("class K:\n    @property\n    def it(self): return helper", "K().it(vcpu)"),
    "a base": ("class B:\n    def go(self, v): helper(v)\nclass K(B): pass", "K().go(vcpu)"),
    "an object": ("class K:\n    def go(self, v): helper(v)\ngo = K().go", "go(vcpu)"),
    "a slot": ("class K:\n    __slots__ = ('f',)\nk = K()\nk.f = helper", "k.f(vcpu)"),
    "a named tuple": ("class T(typing.NamedTuple):\n    f: object\nt = T(helper)", "t.f(vcpu)"),
    "a closure": ("g = around([helper])", "g(vcpu)"),
}
IMPORTED = {
    "a function": ("", "from variants.machine.svm import svm_set_gif as g; g(vcpu, False)"),
    "a module": ("", "import variants.machine.svm as s; s.svm_set_gif(vcpu, False)"),
    "a helper": ("", "import helper_one; helper_one.go(vcpu)"),
    "in a helper": ("import helper_late", "helper_late.go(vcpu)"),
    "by name": ("from importlib import import_module as i", "i('variants.machine.svm')"),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with modules of the user's, which can be imported."""
    for name, text in HELPERS.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def gif_after_clgi(folder: Path, there: str, call: str) -> bool | None:
    """What the guest sees of GIF; true if it is the replacement that has been called."""
    own = folder / "mine.py"
    own.write_text(FILE.format(there=there, call=call))
    step_vcpu, _ = machine_of(load_file(str(own)), "svm")
    return step_vcpu(initial_vcpu(bsp=False), Step("clgi", 1), ()).observation.gif


@pytest.mark.parametrize("how", LINKED)
def test_what_is_linked(how: str, folder: Path) -> None:
    assert gif_after_clgi(folder, *LINKED[how]) is True


@pytest.mark.parametrize("how", HELD)
def test_what_is_held_where_it_is_not_linked(how: str, folder: Path) -> None:
    with pytest.raises(VariantError, match=r": .* holds svm.svm_set_gif: call"):
        gif_after_clgi(folder, *HELD[how])


@pytest.mark.parametrize("how", IMPORTED)
def test_what_is_imported_when_called(how: str, folder: Path) -> None:
    with pytest.raises(VariantError, match=r"when called: import it at the top of the file"):
        gif_after_clgi(folder, *IMPORTED[how])


def test_the_vendor_is_not_known_before_linking(folder: Path) -> None:
    with pytest.raises(VariantError, match=r"mine.py:\d+: .* only as variants\.link has linked"):
        gif_after_clgi(folder, "from variants.machine.ops import *\nV = kvm_x86_ops.vendor", "V")


def test_a_refused_assignment_is_undone(folder: Path) -> None:
    """Also in a class of the machine."""
    with pytest.raises(VariantError, match=r"it assigns to Vcpu\.request"):
        gif_after_clgi(folder, "Vcpu.request = helper", "helper(vcpu)")
    assert gif_after_clgi(folder, "", "helper(vcpu)") is True


LAYERS = """
from variants.machine import svm
from variants.variant import Variant, replaces

def layer(name, on):
    @replaces(svm.svm_execute)
    def svm_execute(vcpu, op):
        svm.svm_execute(vcpu, op)
        vcpu.taken.append(name)
    return Variant(name, "", (svm_execute,), on=on)

VARIANT = layer("three", layer("two", layer("one", None)))
"""


def test_three_layers_that_each_call_the_one_below(tmp_path: Path) -> None:
    own = tmp_path / "mine.py"
    own.write_text(LAYERS)
    step_vcpu, _ = machine_of(load_file(str(own)), "svm")
    shown = step_vcpu(initial_vcpu(bsp=False), Step("clgi", 1), ()).observation
    assert (shown.taken, shown.gif) == (("one", "two", "three"), False)


def test_a_replacement_of_another_variant_is_no_helper(folder: Path) -> None:
    """What it means by the name of the function that both replace could be either."""
    text = (
        "from variants.machine import svm\nfrom variants.variant import replaces\n"
        "@replaces(svm.svm_set_gif)\ndef other(vcpu, value): svm.svm_set_gif(vcpu, value)\n"
    )
    (folder / "others.py").write_text(text)
    there = "from others import other"
    with pytest.raises(VariantError, match=r"other replaces svm\.svm_set_gif in another"):
        gif_after_clgi(folder, there, "other(vcpu, True)")
