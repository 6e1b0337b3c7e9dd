"""Maps the configurations and studies into the package: they lie once, beside it."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["convnorm*", "gan*", "robustness*"]), "gan.configs", "gan.studies"],
    package_dir={"gan.configs": "configs", "gan.studies": "studies"},
    include_package_data=False,  # of what MANIFEST.in lists for the source distribution
    package_data={
        "convnorm": ["py.typed"],
        "gan": ["metrics/*.pt", "py.typed"],
        "gan.configs": ["**/*.yaml"],
        "gan.studies": ["**/*.yaml"],
    },
)
