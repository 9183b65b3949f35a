"""The emulated operators: one numpy function and a few rules each.

How to add an operator
----------------------
Find its family's module here (or add one: every module is loaded), write a function of numpy arrays, and define it
under its names without ``aclnn``::

    def lerp(start, end, weight):
        return start + weight * (end - start)

    elementwise("Lerp Lerps", lerp, oracle="torch.lerp")

The function gets the *inputs in the order of the prototype*: numpy arrays (views of device memory, of any strides),
lists of arrays, numpy scalars for aclScalar, tuples for arrays of numbers, str, bool, int, float, a numpy dtype for
aclDataType, None for NULL. It returns one array, or a tuple of one for each output. It knows nothing of aclTensor, so
the single-operator calls (aclop) use it as well: ``find("aclnnAdd").compute``. Results are cast and copied into the
outputs. float16 and bfloat16 arrive as float32 and are rounded once, when stored (`raw` hands them over as they are).

Two functions define, one name or many in a string:

``elementwise(names, compute, ...)``  tensors broadcast and, with the scalars, meet in the documented common type; that
    is also the result's type. ``aclnnInplaceX`` is defined along with X where it is declared. Scalar forms are the same
    function under another name. ``meet=rules.floating`` makes integers float32, ``result=rules.boolean`` is for
    comparisons, ``promote=(0, 1)`` names the inputs that take part (a scalar beside them is converted; other tensors
    are left alone).
``define(names, compute, shape=, result=, ...)``  everything else. `shape` and `result` are rules: functions of the same
    inputs that give the outputs' shapes and dtypes, checked in phase one (161002). Rules see only ``.shape .ndim .size
    .dtype``. `rules` has those that families share; a rule or `check` refuses with ``rules.reject("dim is ...")``. What
    rules let pass is tried in phase one on zeros (once for each kind of call, unless it is large), and refused where
    the function fails or its results do not fit: so a function must take zeros, or say ``rehearsed=False``.

All keywords are described at `registry.define`. What need not be said: which parameters are outputs, which types and
formats each may have, which of them have one type or one shape, and status codes of its own are read from
``parameters.json`` (taken from the reference pages; `roles` and `dtypes` overrule it); NULL is refused unless
`optional` lists the parameter, as are NULL members of lists, outputs that ``outputMask`` asks for, more than 8
dimensions, private formats, and a common type that
the tensors could not have themselves. A rule that breaks on its arguments (a dimension that is not there) refuses them.

Make it fast: accept ``out`` (``def add(x, y, alpha, out=None)``) where the last step is a ufunc, so that large
operators write into device memory directly; `out` may be one of the inputs. Elementwise functions are called piece by
piece on large tensors, so they must not look at shapes; so are those with a rule for `rows` (a softmax, a
normalisation, sums of rows). Work in place (``y *= x``), and sum with `sums.total`. No Python loop over elements. Ask
for `workspace` (a few KiB; any size) in operators that need some on the device, as matmul, sort and reductions do, so
that callers' workspace handling is exercised.

Each operator names its oracle. ``oracle="torch.lerp"`` is called by the tests with the same inputs, drawn at random;
what needs adapting, or other inputs, gets an entry in a module of ``tests/ops/oracles`` (one a family; see its
docstring and ``tests/ops/oracle.py``). A family is a table of (names, function, oracle): see the bottom of `unary`.
"""

from .registry import Operator, Row, define, elementwise, family, find, load, op, table

__all__ = ["Operator", "Row", "define", "elementwise", "family", "find", "load", "op", "table"]
