"""Only what pyproject.toml cannot say: the cffi modules, and the declarations that travel with the package."""

from setuptools import setup

setup(cffi_modules=["pyacl/capi/build.py:api", "pyacl/capi/build.py:hot", "pyacl/capi/build.py:abi"])
