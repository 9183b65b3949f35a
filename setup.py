"""Only what pyproject.toml cannot say: the cffi modules, and the declarations that travel with the package."""

from setuptools import find_packages, setup

setup(
    cffi_modules=["pyacl/capi/build.py:api", "pyacl/capi/build.py:hot", "pyacl/capi/build.py:abi",
                  "pyacl/emulator/half_build.py:half"],
    packages=[*find_packages(include=["pyacl", "pyacl.*"]), "pyacl.capi.cdefs"],
)
