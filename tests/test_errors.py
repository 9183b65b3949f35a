"""Statuses as exceptions: their names, causes and remedies, what catches them, and what clean-up may not hide."""

from __future__ import annotations

import builtins
import copy
import pickle
import re
from typing import Any

import pytest

import pyacl
from pyacl import errors
from pyacl.capi import cdefs, ffi, lib

# The codes as the C headers have them; success, and the marker of "no code", are no errors.
CODES = {name: int(value) for name, value in
         re.findall(r"^#define (ACL_ERROR\w*|ACLNN_ERR\w*) (\d+)$", (cdefs.FOLDER / "errors.h").read_text(), re.M)
         if name != "ACL_ERROR_NONE"}


def test_there_are_as_many_codes_as_cann_documents() -> None:
    assert len(CODES) > 250
    assert CODES["ACL_ERROR_RT_CONTEXT_NULL"] == 107002


@pytest.mark.parametrize("name", sorted(CODES))
def test_every_code_has_a_name_a_cause_and_a_remedy(name: str) -> None:
    found, cause, remedy = errors.explain(CODES[name])
    # Two names of one value are told by either.
    assert CODES[found] == CODES[name]
    assert cause
    assert len(cause) > 5
    error = errors.error(CODES[name], "aclFoo", text="")
    assert isinstance(error, pyacl.AclError)
    assert type(error) is not pyacl.AclError
    assert error.code == CODES[name]
    assert error.name == found
    assert error.function == "aclFoo"
    shown = str(error)
    assert str(error.code) in shown
    assert found in shown
    assert "aclFoo" in shown
    assert cause in shown
    assert "\n" not in remedy
    assert (remedy or isinstance(error, (errors.AbortedError, errors.UnsupportedError)))
    if remedy:
        assert f"remedy: {remedy}" in shown


@pytest.mark.parametrize(("code", "cls", "builtin"), [
    (107000, "InvalidArgumentError", "ValueError"), (161002, "InvalidArgumentError", "ValueError"),
    (107001, "InvalidArgumentError", "ValueError"), (107017, "InvalidArgumentError", "ValueError"),
    (100001, "NotInitializedError", "RuntimeError"), (100002, "StateError", "RuntimeError"),
    (107002, "ContextError", "RuntimeError"), (107003, "ContextError", "RuntimeError"),
    (207001, "OutOfMemoryError", "MemoryError"), (507046, "SyncTimeoutError", "TimeoutError"),
    (207000, "UnsupportedError", "NotImplementedError"), (561003, "OperatorNotFoundError", "LookupError"),
    (561000, "OperatorError", "RuntimeError"), (507015, "DeviceFaultError", "RuntimeError"),
])
def test_codes_are_also_the_builtin_one_would_catch(code: int, cls: str, builtin: str) -> None:
    found = getattr(errors, cls)
    with pytest.raises(getattr(builtins, builtin)) as caught:
        pyacl.check(code, "aclFoo")
    assert isinstance(caught.value, found)
    assert isinstance(caught.value, pyacl.AclError)
    assert found is getattr(pyacl, cls)


@pytest.mark.parametrize(("code", "cls", "words"), [
    (199999, "InvalidArgumentError", "arguments"), (299999, "ResourceExhaustedError", "resource"),
    (399999, "StateError", "state"), (599999, "InternalError", "internal"), (42, "AclError", "does not know"),
    (-1, "InvalidArgumentError", "arguments"),
])
def test_an_unknown_code_is_explained_by_its_first_digit(code: int, cls: str, words: str) -> None:
    with pytest.raises(getattr(errors, cls)) as caught:
        pyacl.check(code, "aclFoo")
    assert f"unknown code {code}" in str(caught.value)
    assert words in str(caught.value)


def test_success_is_silent() -> None:
    pyacl.check(0, "aclFoo")
    assert errors.explain(0)[0] == "ACL_SUCCESS"


def test_an_error_carries_the_drivers_text_and_takes_it_away(device: Any) -> None:
    with pytest.raises(ValueError) as caught:
        pyacl.Device(77)
    error: Any = caught.value
    assert error.function == "aclrtSetDevice"
    assert error.code == lib.ACL_ERROR_RT_INVALID_DEVICEID
    assert "77" in error.text
    assert error.text in str(error)
    assert lib.aclGetRecentErrMsg() == ffi.NULL
    with pytest.raises(ValueError) as other:  # the text of the first is not told with the second
        pyacl.check(107000, "aclFoo")
    assert "77" not in str(other.value)


@pytest.mark.parametrize("make", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy, copy.deepcopy])
def test_errors_can_be_pickled_and_copied(make: Any) -> None:
    first: Any = errors.error(207001, "aclrtMalloc", "nothing left")
    errors.add_note(first, "1 byte was asked for")
    again = make(first)
    assert type(again) is type(first)
    assert str(again) == str(first)
    assert (again.code, again.name, again.function) == (207001, first.name, "aclrtMalloc")
    assert (again.text, again.cause, again.remedy) == ("nothing left", first.cause, first.remedy)
    assert again.__notes__ == ["1 byte was asked for"]


def test_every_exception_class_is_exported() -> None:
    for name in errors.__all__:
        found = getattr(errors, name)
        if isinstance(found, type) and issubclass(found, BaseException):
            assert getattr(pyacl, name) is found
    with pytest.raises(AttributeError, match="no attribute 'NoSuchError'"):
        pyacl.NoSuchError  # noqa: B018


class Failing(pyacl.Resource):
    """A resource whose release fails."""

    __slots__ = ()

    def __init__(self) -> None:
        self._own(object())

    def _release(self) -> None:
        pyacl.check(507899, "aclrtDestroyFoo")


def test_a_clean_up_error_never_hides_the_first() -> None:
    with pytest.raises(KeyError) as caught, Failing():
        raise KeyError("first")
    notes = getattr(caught.value, "__notes__", [])
    assert len(notes) == 1
    assert "while cleaning up" in notes[0]
    assert "aclrtDestroyFoo" in notes[0]


def test_a_clean_up_error_alone_is_raised() -> None:
    failing = Failing()
    with pytest.raises(pyacl.AclError, match="aclrtDestroyFoo"):
        failing.close()
    assert failing.closed
    failing.close()


def test_closing_many_raises_the_first_error_and_closes_all() -> None:
    from pyacl import resource

    several = [Failing(), Failing(), Failing()]
    with pytest.raises(pyacl.AclError) as caught:
        resource.close_all(several)
    assert all(r.closed for r in several)
    assert len(caught.value.__notes__) == 2  # type: ignore[attr-defined, unused-ignore]


def test_the_message_reads_well() -> None:
    text = str(errors.error(107002, "aclrtMalloc", "ctx is NULL\n"))
    first, second, third = text.splitlines()
    assert first == f"aclrtMalloc failed with 107002 (ACL_ERROR_RT_CONTEXT_NULL): {errors.explain(107002)[1]}"
    assert second == "  driver: ctx is NULL"
    assert third.startswith("  remedy: ")


def test_what_is_not_emulated_says_so() -> None:
    error = errors.error(lib.ACL_ERROR_RT_FEATURE_NOT_SUPPORT, "aclFoo", "not emulated: aclFoo")
    assert isinstance(error, pyacl.NotEmulatedError)
    assert isinstance(error, NotImplementedError)
    assert "the emulator does not have aclFoo" in str(error)
