"""Offline models: the functions of ``model.h``, one module for each of its concepts."""

from . import model_aipp, model_bundle, model_dataset, model_desc, model_execute, model_load

globals().update({name: function for module in (model_load, model_bundle, model_desc, model_dataset, model_execute,
                                                model_aipp)
                  for name, function in vars(module).items() if name.startswith("aclmdl")})
