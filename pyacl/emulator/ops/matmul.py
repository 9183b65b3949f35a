"""Matrix products. float16 and bfloat16 are multiplied in float32 and rounded once."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np

from . import rules
from .registry import define, family
from .rules import broadcast_shapes, reject
from .tensor import NZ, nz_shape
from .types import BF16, F16, F32

Shape = tuple[int, ...]
WORKSPACE = 20480


def matmul(x: Any, y: Any, cube_math_type: int = 0, out: Any = None) -> Any:
    return np.matmul(x, y, out=out)


def product_type(*values: Any) -> Any:
    """The tensors' common type; the cube unit does not take float16 beside bfloat16."""
    tensors = [v for v in values if rules.is_tensor(v)]
    if {t.dtype for t in tensors[-2:]} == {F16, BF16}:
        reject("one matrix is ACL_FLOAT16 and the other ACL_BF16")
    return rules.common(*tensors)


def matmul_check(x: Any, y: Any, *_: Any) -> None:
    if max(x.ndim, y.ndim) > 6:
        reject(f"a matrix has {max(x.ndim, y.ndim)} dimensions, more than 6")
    if {x.dtype, y.dtype} == {F32, BF16}:
        reject("one matrix is ACL_FLOAT and the other ACL_BF16")


def matmul_shape(x: Any, y: Any, *_: Any) -> Shape:
    """torch.matmul's: vectors gain a dimension that is dropped again, leading dimensions broadcast."""
    if not x.ndim or not y.ndim:
        reject("a matrix product needs at least 1 dimension")
    a = (1, *x.shape) if x.ndim == 1 else tuple(x.shape)
    b = (*y.shape, 1) if y.ndim == 1 else tuple(y.shape)
    if a[-1] != b[-2]:
        reject(f"self of shape {list(x.shape)} and mat2 of {list(y.shape)} do not fit: {a[-1]} and {b[-2]}")
    lead = broadcast_shapes(a[:-2], b[:-2])
    return (*lead, *(() if x.ndim == 1 else (a[-2],)), *(() if y.ndim == 1 else (b[-1],)))


def ranks(*wanted: int) -> Callable[..., None]:
    """Refuses tensors that have not the given numbers of dimensions."""
    def check(*inputs: Any) -> None:
        for i, (tensor, n) in enumerate(zip(inputs, wanted)):
            if n >= 0 and tensor.ndim != n:
                reject(f"input {i} has {tensor.ndim} dimensions, not {n}")

    return check


def same_batch(x: Any, y: Any, *_: Any) -> None:
    ranks(3, 3)(x, y)
    if x.shape[0] != y.shape[0] and 1 not in (x.shape[0], y.shape[0]):
        reject(f"batch sizes {x.shape[0]} and {y.shape[0]} differ")


def scaled(value: Any, factor: Any) -> Any:
    return value if factor == 1 else value * factor


def plus(x: Any, product: Any, beta: Any, alpha: Any) -> Any:
    """beta x + alpha product; with beta 0 what x holds does not matter."""
    product = scaled(product, alpha)
    return product if beta == 0 else scaled(x, beta) + product


def addmm(x: Any, a: Any, b: Any, beta: Any, alpha: Any, cube_math_type: int) -> Any:
    return plus(x, np.matmul(a, b), beta, alpha)


def addmm_shape(x: Any, a: Any, b: Any, *_: Any) -> Shape:
    shape = matmul_shape(a, b)
    if broadcast_shapes(tuple(x.shape), shape) != shape:
        reject(f"self of shape {list(x.shape)} does not broadcast to {list(shape)}")
    return shape


def addbmm(x: Any, a: Any, b: Any, beta: Any, alpha: Any, cube_math_type: int) -> Any:
    return plus(x, np.matmul(a, b).sum(0), beta, alpha)


def addbmm_shape(x: Any, a: Any, b: Any, *_: Any) -> Shape:
    if a.shape[0] != b.shape[0] or a.shape[2] != b.shape[1]:
        reject(f"batch1 of shape {list(a.shape)} and batch2 of {list(b.shape)} do not fit")
    shape = (a.shape[1], b.shape[2])
    if broadcast_shapes(tuple(x.shape), shape) != shape:
        reject(f"self of shape {list(x.shape)} does not broadcast to {list(shape)}")
    return shape


def addmv(x: Any, matrix: Any, vector: Any, alpha: Any, beta: Any, cube_math_type: int) -> Any:
    return plus(x, np.matmul(matrix, vector), beta, alpha)


def addr(x: Any, a: Any, b: Any, beta: Any, alpha: Any) -> Any:
    return plus(x, np.outer(a, b), 1 if beta is None else beta, 1 if alpha is None else alpha)


def addr_shape(x: Any, a: Any, b: Any, *_: Any) -> Shape:
    shape = (a.size, b.size)
    if broadcast_shapes(tuple(x.shape), shape) != shape:
        reject(f"self of shape {list(x.shape)} does not broadcast to {list(shape)}")
    return shape


def gemm(a: Any, b: Any, c: Any, alpha: float, beta: float, trans_a: int, trans_b: int, cube_math_type: int) -> Any:
    a, b = a.T if trans_a else a, b.T if trans_b else b
    return plus(c, np.matmul(a, b), a.dtype.type(beta), a.dtype.type(alpha))


def gemm_shape(a: Any, b: Any, c: Any, alpha: float, beta: float, trans_a: int, trans_b: int, *_: Any) -> Shape:
    m, k = a.shape[::-1] if trans_a else a.shape
    k2, n = b.shape[::-1] if trans_b else b.shape
    if k != k2:
        reject(f"A of shape {list(a.shape)} and B of {list(b.shape)} do not fit")
    return (m, n)


def transpose_batch_matmul(x: Any, y: Any, bias: Any, scale: Any, perm_x: Any, perm_y: Any, perm_out: Any,
                           cube_math_type: int, split: int) -> Any:
    x = x.transpose(perm_x) if perm_x else x
    y = y.transpose(perm_y) if perm_y else y
    found = np.matmul(x, y)
    if bias is not None:
        found = found + bias
    found = found.transpose(perm_out) if perm_out else found
    if split > 1:  # batches side by side in groups
        m, b, n = found.shape
        found = found.reshape(m, split, b * n // split).transpose(1, 0, 2)
    return found


# ---- weights in the fractal format NZ, which `tensor` unpacks

def nz_weight(weight: Any) -> None:
    if getattr(weight, "format", NZ) != NZ:
        reject(f"the weight has the format {weight.format}, not ACL_FORMAT_FRACTAL_NZ; see aclnnTransMatmulWeight")


def nz_batch(x: Any, y: Any, *_: Any) -> None:
    nz_weight(y)
    same_batch(x, y)


def to_nz(tensor: Any) -> None:
    if tensor.ndim < 2 or not tensor.size:
        reject(f"mmWeightRef of shape {list(tensor.shape)} is empty or no matrix")
    if tensor.format != NZ:
        physical = tensor.shape
        if tensor.strides[-2] == 1 and tensor.strides[-1] != 1:
            physical = (*physical[:-2], physical[-1], physical[-2])
        tensor.format, tensor.storage_shape = NZ, nz_shape(physical, tensor.dtype)


def check_cast(source: Any, out: Any = None) -> None:
    if not source.size or not 2 <= source.ndim <= 6:
        reject(f"srcTensor of shape {list(source.shape)} is empty or has not 2 to 6 dimensions")


def einsum(tensors: Any, equation: str) -> Any:
    return np.einsum(equation, *tensors, optimize=True)


define("Matmul", matmul, shape=matmul_shape, result=product_type, meet=product_type, check=matmul_check,
       workspace=WORKSPACE, oracle="torch.matmul")
define("Mm", matmul, shape=matmul_shape, result=product_type, meet=product_type, check=ranks(2, 2), workspace=WORKSPACE,
       oracle="torch.mm")
define("BatchMatMul", matmul, shape=matmul_shape, result=product_type, meet=product_type, check=same_batch,
       workspace=WORKSPACE, oracle="torch.bmm")
define("Mv", matmul, shape=matmul_shape, result=product_type, meet=product_type, check=ranks(2, 1), workspace=WORKSPACE,
       oracle="torch.mv")
define("Dot", matmul, shape=matmul_shape, result=product_type, meet=product_type, check=ranks(1, 1),
       workspace=WORKSPACE, oracle="torch.dot")
define("Ger", np.outer, shape=lambda x, y: (x.size, y.size), result=product_type, meet=product_type, check=ranks(1, 1),
       oracle="torch.ger")
family(define, (
    ("Addmm", addmm, "torch.addmm"), ("Baddbmm", addmm, "torch.baddbmm"),
), shape=addmm_shape, result=product_type, meet=product_type, promote=(0, 1, 2), inplace=True, workspace=WORKSPACE)
define("Addbmm", addbmm, shape=addbmm_shape, result=product_type, meet=product_type,
       promote=(0, 1, 2), inplace=True, check=ranks(-1, 3, 3), workspace=WORKSPACE, oracle="torch.addbmm")
define("Addmv", addmv, shape=addmm_shape, result=product_type, meet=product_type, promote=(0, 1, 2),
       check=ranks(-1, 2, 1), workspace=WORKSPACE, oracle="torch.addmv")
define("Addr AddrV2", addr, shape=addr_shape, result=product_type, meet=product_type, promote=(0, 1, 2), inplace=True,
       check=ranks(-1, 1, 1), oracle="torch.addr")
define("Gemm", gemm, shape=gemm_shape, result=product_type, meet=product_type, promote=(0, 1, 2), check=ranks(2, 2),
       workspace=WORKSPACE, oracle="torch.addmm")
define("TransposeBatchMatMul", transpose_batch_matmul, optional="bias scale permX1 permX2 permY", result=product_type,
       meet=product_type, promote=(0, 1), workspace=WORKSPACE, oracle="torch.matmul of permuted tensors")
define("Einsum", einsum, result=lambda tensors, equation: rules.common(*tensors), workspace=WORKSPACE,
       oracle="torch.einsum")

define("MatmulWeightNz", matmul, shape=matmul_shape, result=product_type, meet=product_type, private_formats=True,
       check=lambda x, y, _: nz_weight(y), workspace=WORKSPACE, oracle="torch.matmul")
define("BatchMatMulWeightNz", matmul, shape=matmul_shape, result=product_type, meet=product_type, private_formats=True,
       check=nz_batch, workspace=WORKSPACE, oracle="torch.bmm")
define("AddmmWeightNz", addmm, shape=addmm_shape, result=product_type, meet=product_type, promote=(0, 1, 2),
       private_formats=True, check=lambda x, a, b, *_: nz_weight(b), workspace=WORKSPACE, oracle="torch.addmm")
define("TransMatmulWeight", lambda x: x.copy(), raw=True, reformat=to_nz, private_formats=True,
       oracle="the layout, element by element")
define("NpuFormatCast", lambda x: x, shape=rules.same, result=rules.first, raw=True, exact=True, private_formats=True,
       check=check_cast, oracle="the layout, element by element", deviations="only ND and FRACTAL_NZ")
