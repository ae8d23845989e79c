"""Find the packages, so that a new folder is installed; envs/ and benchmarks/ are at the top of the repository."""

from setuptools import find_packages, setup

#: They must not become global modules of those names.
ELSEWHERE = {"consensus_imitation.envs": "envs", "consensus_imitation.benchmarks": "benchmarks"}

packages = find_packages(include=["consensus_imitation", "consensus_imitation.*"])
for name, folder in ELSEWHERE.items():
    packages += [name, *(f"{name}.{inner}" for inner in find_packages(folder))]

setup(packages=packages, package_dir=ELSEWHERE)
