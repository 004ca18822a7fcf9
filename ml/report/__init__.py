"""The report of one gate run: JSON for programs, and one self-contained HTML page for people.

``facts.py`` collects what was measured, ``charts.py`` draws it as SVG, ``page.py`` puts it on a page. Nothing here
measures or talks to the registry.
"""
