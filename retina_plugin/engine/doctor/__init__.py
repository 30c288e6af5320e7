"""Checks of an installation and a machine, for ``retina doctor``.

A check is one function without arguments that returns a :class:`Finding`; a line in
:data:`retina_plugin.engine.doctor.checks.CHECKS` adds it. Checks import libraries only inside
functions, because a broken library may raise any error when it is imported.
"""
