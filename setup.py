from setuptools import find_namespace_packages, find_packages, setup

CONFIGS = [f"retina_plugin.{name}" for name in find_namespace_packages(include=["configs*"])]
setup(packages=find_packages(include=["retina_plugin*"]) + CONFIGS)
