"""Operators by GE type name: attributes, the models that are loaded or compiled, how a call is matched and run."""
