"""The documentation as a site: what `mkdocs.yml` builds from README, docs/ and the code."""
